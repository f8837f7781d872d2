"""An adaptation of records whose answers are whole sentences: the cross-encoder is tuned beside the adapter."""

import json
import shutil

import pytest
from adaptations import adapt_tiny, fixed_speed, tiny_world
from data import bigger_world
from fakes import HashingEmbedder
from tiny_cross_encoder import use_tiny_cross_encoder

from rag_ft.adapting import plan, sentences
from rag_ft.adapting.plan import Training
from rag_ft.adapting.sentences import FEWEST_WORDS, sentence_plan, sentence_split, what_to_tune
from rag_ft.adapting.sides import take_sides
from rag_ft.indexing.index import Index
from rag_ft.models.adapter_record import ADAPTER_RECORD
from rag_ft.questions.records import write_questions
from rag_ft.training.start import read_start


def as_part(record):
    return record.model_copy(update={"kind": "part"}) if record.answerable else record


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_llama_dir):
    """Folder, documents, records, and a start that leaves whole sentences to the cross-encoder."""
    folder = tmp_path_factory.mktemp("sentences")
    documents, _, start = tiny_world(folder, tiny_llama_dir)
    record = json.loads((start / ADAPTER_RECORD).read_text())
    (start / ADAPTER_RECORD).write_text(json.dumps({**record, "whole_sentences": True}))
    return folder, documents, bigger_world()[1], start


@pytest.fixture(scope="module")
def index(world):
    folder, documents, _, _ = world
    return Index.build(documents, folder / "index", embedder=HashingEmbedder(), progress=False)


def sides_of(records, index):
    return take_sides(records, index, 0)


def test_the_model_that_chooses_the_answers_is_tuned(world, index, tiny_llama_dir, tmp_path):
    _, _, records, start = world
    training = Training(read_start(start), str(tiny_llama_dir), 0)
    parts = [as_part(record) for record in records]
    assert what_to_tune(sides_of(records, index), training) == "reader"
    assert what_to_tune(sides_of(parts, index), training) == "cross-encoder"
    few = [*records[: FEWEST_WORDS // 2], *parts[FEWEST_WORDS // 2 :]]
    assert what_to_tune(sides_of(few, index), training) == "cross-encoder"
    shutil.copytree(start, tmp_path / "start")
    record = json.loads((start / ADAPTER_RECORD).read_text())
    (tmp_path / "start" / ADAPTER_RECORD).write_text(json.dumps({**record, "whole_sentences": False}))
    chooses_itself = training._replace(start=read_start(tmp_path / "start"))
    assert what_to_tune(sides_of(parts, index), chooses_itself) is None


def test_the_plan_fits_the_passes_into_the_time_and_says_what_is_tuned(world, index, tiny_llama_dir, monkeypatch):
    _, _, records, start = world
    training = Training(read_start(start), str(tiny_llama_dir), 0)
    sides = sides_of([as_part(record) for record in records], index)
    monkeypatch.setattr(sentences, "question_seconds", lambda *_: 0.1)
    monkeypatch.setattr(sentences, "_forward_seconds", lambda *_: 0.5)
    long, short = (sentence_plan(sides, index, training, minutes, 0.0) for minutes in (60, 1))
    assert (long.epochs, short.epochs) == (3, 1)
    assert not long.over and short.over
    assert long.train == len(sides.train) and long.judge == len(sides.judge)
    assert any("cross-encoder" in line for line in long.lines())
    split = sentence_split(sides)
    assert {record.id for record in split.train}.isdisjoint(record.id for record in (*split.held_out, *sides.judge))


@pytest.mark.slow
def test_a_cross_encoder_is_tuned_judged_and_not_tuned_again(world, tiny_llama_dir, tmp_path, monkeypatch):
    _, documents, records, start = world
    use_tiny_cross_encoder(tmp_path, monkeypatch)
    monkeypatch.setattr(plan, "measure_speed", fixed_speed)
    monkeypatch.setattr(sentences, "question_seconds", lambda *_: 0.05)
    monkeypatch.setattr(sentences, "_forward_seconds", lambda *_: 10.0)  # one pass is enough here
    write_questions([as_part(record) for record in records], tmp_path / "parts.jsonl")

    def run():
        return adapt_tiny(documents, tmp_path / "out", tiny_llama_dir, start, questions=tmp_path / "parts.jsonl")

    verdict = run()
    adapter = tmp_path / "out" / "adapter"
    assert (adapter / "cross_encoder" / "cross_encoder.safetensors").is_file()
    assert (adapter / "adapter_model.safetensors").read_bytes() == (start / "adapter_model.safetensors").read_bytes()
    assert verdict.difference is not None
    monkeypatch.setattr(sentences, "train_cross_encoder", lambda *_, **__: pytest.fail("tuned again"))
    assert run() == verdict
