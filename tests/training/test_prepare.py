import json
import shutil

import pytest
from transformers.integrations import get_available_reporting_integrations

from rag_ft.errors import DatasetError, TrainingError, UsageError
from rag_ft.schema import Question
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.run import train_reader
from rag_ft.training.steps.config import TrainConfig

SMALL = {"lora": AdapterConfig(rank=4), "training": TrainConfig(bits=32, max_steps=2, evaluations=1)}


@pytest.mark.parametrize("theirs", ["training/notes.txt", "README.md", "adapter_model.safetensors"])
def test_a_folder_with_files_of_somebody_else_is_left_as_it_is(tmp_path, world, tiny_llama_dir, theirs):
    index, questions = world
    path = tmp_path / theirs
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(UsageError, match="is not from a run of rag_ft"):
        train_reader(questions, index, tmp_path, reader=str(tiny_llama_dir), compare=False, **SMALL)
    assert path.read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["training", "training/best", "training/checkpoints", "rag_ft.json", "README.md"])
def test_a_link_where_a_run_would_write_is_refused_and_not_followed(tmp_path, tiny_llama_dir, world, name):
    index, questions = world
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (elsewhere / "checkpoint-1").mkdir(parents=True)
    (output / name).parent.mkdir(parents=True)
    (output / name).symlink_to(elsewhere)
    if name.count("/"):
        record = dict.fromkeys(("examples", "prompt", "base", "lora", "training"))
        (output / "training" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=f"{name} is not from a run of rag_ft"):
        train_reader(questions, index, output, reader="no such model", compare=False, **SMALL)
    assert (output / name).is_symlink() and [path.name for path in elsewhere.iterdir()] == ["checkpoint-1"]


def test_files_beside_those_of_a_finished_run_outlive_the_next_one(adapter, world, tiny_llama_dir):
    index, questions = world
    for name in ("notes.txt", "training/notes.txt", "training/plots/mine.png"):
        (adapter / name).parent.mkdir(exist_ok=True)
        (adapter / name).write_text("mine")
    train_reader(questions, index, adapter, reader=str(tiny_llama_dir), compare=False, **SMALL)
    for name in ("notes.txt", "training/notes.txt", "training/plots/mine.png"):
        assert (adapter / name).read_text() == "mine"
    (adapter / "training" / "best" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"best/notes.txt is not from a run"):
        train_reader(questions, index, adapter, reader=str(tiny_llama_dir), compare=False, **SMALL)
    assert (adapter / "training" / "best" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "message"), [("tensorbord", "is not an experiment tracker"), ("wandb", "is not installed")]
)
def test_a_tracker_that_is_not_there_is_told_before_the_model_is_loaded(tmp_path, world, name, message):
    if name in get_available_reporting_integrations():
        pytest.skip(f"{name} is installed here")
    index, questions = world
    training = TrainConfig(bits=32, max_steps=2, evaluations=1, report_to=name)
    with pytest.raises(UsageError, match=message):
        train_reader(questions, index, tmp_path, reader="no-such-model", training=training)


def test_one_record_and_foreign_documents_are_told(tmp_path, tiny_llama_dir, world):
    index, questions = world
    with pytest.raises(DatasetError, match="another document"):
        train_reader(questions[:1], index, tmp_path / "out", reader=str(tiny_llama_dir), **SMALL)
    moved = [
        question.model_copy(
            update={
                "evidence": tuple(
                    e.model_copy(update={"document_id": "no-" + e.document_id}) for e in question.evidence
                )
            }
        )
        for question in questions
        if question.answerable
    ]
    with pytest.raises(DatasetError, match="the index lacks the document of its evidence"):
        train_reader(moved, index, tmp_path / "out", reader=str(tiny_llama_dir), **SMALL)


@pytest.mark.parametrize("content", ["{", "[]", "5"])
def test_a_damaged_record_of_a_run_beside_its_checkpoints_is_told(tmp_path, tiny_llama_dir, world, content):
    index, questions = world
    (tmp_path / "training" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (tmp_path / "training" / "run.json").write_text(content)
    with pytest.raises(TrainingError, match=r"run.json is damaged"):
        train_reader(questions, index, tmp_path, reader=str(tiny_llama_dir), compare=False, **SMALL)


@pytest.mark.parametrize("below", ["file", "file/below"])
def test_an_output_that_can_be_no_folder_is_told_before_the_model_is_loaded(tmp_path, world, below):
    index, questions = world
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file is a file"):
        train_reader(questions, index, tmp_path / below, reader="no such model", **SMALL)


def test_a_context_longer_than_the_window_names_the_record(tmp_path, tiny_llama_dir, world):
    """A window of 256 tokens, and a gold passage that alone is longer."""

    from fakes import HashingEmbedder

    from rag_ft.indexing.chunking import ChunkingConfig
    from rag_ft.indexing.index import Index
    from rag_ft.schema import Document, Evidence

    small = tmp_path / "small"
    shutil.copytree(tiny_llama_dir, small)
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 256}))
    text = "The lamp of the far tower is green, " + "it is lit at dusk by a keeper and again at midnight, " * 20
    documents = [Document(id=f"d{i}", text=text + str(i), title="T") for i in range(2)]
    index = Index.build(
        documents, tmp_path / "long", embedder=HashingEmbedder(), chunking=ChunkingConfig(max_tokens=256)
    )
    evidence = [Evidence(document_id=document.id, start=29, end=34, quote="green") for document in documents]
    questions = [
        Question(id=f"q{i}", question="Which colour?", answers=("green",), evidence=(piece,))
        for i, piece in enumerate(evidence)
    ]
    with pytest.raises(DatasetError, match=r"record q\d"):
        train_reader(questions, index, tmp_path / "out", reader=str(small), **SMALL)
    assert not (tmp_path / "out").exists()
