import json
import os

import pytest
from data import little_world
from fakes import HashingEmbedder
from tiny_adapters import make_adapter

from rag_ft.adapters.calibrate import calibrate_adapter
from rag_ft.answering.confidence import PlattScale
from rag_ft.answering.reader import Reader
from rag_ft.errors import DatasetError, UsageError, WeightsError
from rag_ft.indexing.index import Index
from rag_ft.metrics.thresholds import best_threshold
from rag_ft.models.adapter_record import adapter_record
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.weights import resolve_adapter
from rag_ft.training import scoring  # NEW
from rag_ft.training import scoring as reader_score
from rag_ft.training.card import model_card
from rag_ft.training.scoring import fit_platt


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    documents, questions = little_world(4)
    return questions, Index.build(documents, tmp_path_factory.mktemp("world") / "index", embedder=HashingEmbedder())


@pytest.fixture
def adapter(tiny_llama_dir, tmp_path):
    return make_adapter(tmp_path / "adapter", tiny_llama_dir, 1, threshold=0.9)


def test_the_threshold_is_chosen_by_the_one_rule_and_the_reader_uses_it(adapter, world, tiny_llama_dir):
    questions, index = world
    score = calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir))
    assert (score.questions, score.answerable) == (12, 8)
    record = json.loads((adapter / "rag_ft.json").read_text())
    assert record["threshold"]["value"] == score.threshold != 0.9
    assert record["threshold"]["chosen_on"]["index"] == index.fingerprint
    reader = Reader.from_pretrained(str(tiny_llama_dir), adapter=adapter)
    assert reader.threshold == score.threshold
    hits = index.as_retriever(k=3).retrieve_batch([one.question for one in questions])
    readings = [
        reader.read(one.question, [hit.passage for hit in found]) for one, found in zip(questions, hits, strict=True)
    ]
    # What the rule sees here: a random model is never right, so only null counts.
    pairs = list(zip(readings, questions, strict=True))
    answered = [(one.answer_confidence, 0.0) for one, asked in pairs if asked.answerable]
    null = [one.answer_confidence for one, asked in pairs if not asked.answerable]
    if score.must_answer_f1 == 0:
        assert best_threshold(answered, null) == pytest.approx(score.threshold, abs=1e-6)


def test_the_scale_is_fitted_on_the_readers_own_confidences_however_often(adapter, world, tiny_llama_dir, monkeypatch):
    """The tiny reader is never right: here it is said to be, of half of the answers."""
    questions, index = world
    monkeypatch.setattr(scoring, "FEWEST", len(questions))
    monkeypatch.setattr(reader_score, "is_correct", lambda answer, asked: len(answer) % 2 == 0)
    found, said = [], []
    for _ in range(2):
        score = calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir), recognise=0.3, say=said.append)
        found.append(json.loads((adapter / "rag_ft.json").read_text())["threshold"])
    assert found[0] == found[1]
    scale = PlattScale.model_validate(found[0]["platt"])
    reader = Reader.from_pretrained(str(tiny_llama_dir), adapter=adapter, threshold=0.0)
    assert reader.scale == scale != PlattScale()
    hits = index.as_retriever(k=3).retrieve_batch([one.question for one in questions])
    readings = [
        reader.read(one.question, [hit.passage for hit in some]) for one, some in zip(questions, hits, strict=True)
    ]
    right = [asked.answerable and len(one.answer) % 2 == 0 for one, asked in zip(readings, questions, strict=True)]
    wanted = fit_platt([one.not_null for one in readings], right)
    assert (scale.slope, scale.intercept) == pytest.approx((wanted.slope, wanted.intercept), rel=1e-3)
    null = [one.answer_confidence for one, asked in zip(readings, questions, strict=True) if not asked.answerable]
    assert sum(one < found[0]["value"] for one in null) / len(null) == score.null_recognised == 0.75
    assert any(line.startswith("scale     how often such an answer is right") for line in said)
    # What was chosen before is measured on the scale that it was chosen on.
    assert said[-2] == f"now       {score.line()}"


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_kill_never_leaves_a_card_that_tells_of_another_threshold(adapter, monkeypatch, renamed):
    from rag_ft.training.saving import write_record

    (adapter / "README.md").write_text("threshold 1")
    replace, done = os.replace, []

    def killed(one, two):
        if len(done) == renamed:
            raise KeyboardInterrupt
        done.append(replace(one, two))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_record(adapter, {"threshold": {"value": 2}}, "threshold 2")
    assert not (adapter / "README.md").exists() and json.loads((adapter / "rag_ft.json").read_text())
    assert not [path for path in adapter.iterdir() if "partial" in path.name]
    write_record(adapter, {"threshold": {"value": 2}}, "threshold 2")
    assert (adapter / "README.md").read_text() == "threshold 2"


def test_a_dry_run_only_measures(adapter, world, tiny_llama_dir):
    before = (adapter / "rag_ft.json").read_bytes()
    calibrate_adapter(adapter, *world, reader=str(tiny_llama_dir), dry_run=True)
    assert (adapter / "rag_ft.json").read_bytes() == before


def test_the_packaged_adapter_can_be_measured_and_not_changed(world):
    with pytest.raises(UsageError, match="export packaged mine --to peft"):
        calibrate_adapter("packaged", *world)


def test_questions_without_evidence_are_told_where_the_adapter_may_know_them(adapter, world, tiny_llama_dir):
    questions, index = world
    record = json.loads((adapter / "rag_ft.json").read_text())
    (adapter / "rag_ft.json").write_text(json.dumps({**record, "data": {"documents": ["Oslo.txt"]}}))
    some = [one if one.answerable else one.model_copy(update={"evidence": ()}) for one in questions]
    said = []
    calibrate_adapter(adapter, some, index, reader=str(tiny_llama_dir), say=said.append, dry_run=True)
    assert "4 questions name no evidence: whether the adapter was trained on them cannot be told" in said


def test_a_share_to_recognise_gives_the_lowest_threshold_that_does(adapter, world, tiny_llama_dir):
    questions, index = world
    score = calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir), recognise=0.3)
    assert score.null_recognised == 0.75  # 2 of 4 could be chance: Wilson's lower bound is .217, that of 3 is .384
    record = json.loads((adapter / "rag_ft.json").read_text())["threshold"]
    assert (record["value"], record["chosen_on"]["recognise"]) == (score.threshold, 0.3)
    counted = calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir), recognise=0.3, margin=False)
    assert counted.null_recognised == 0.5 and counted.threshold < score.threshold
    assert json.loads((adapter / "rag_ft.json").read_text())["threshold"]["chosen_on"]["margin"] is False
    score = calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir), recognise=0.3)
    with pytest.raises(DatasetError, match="4 unanswerable questions are too few"):
        calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir), recognise=0.65)
    assert json.loads((adapter / "rag_ft.json").read_text())["threshold"]["value"] == score.threshold
    with pytest.raises(UsageError, match="between 0 and 1, not 65"):
        calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir), recognise=65)


def test_questions_about_documents_that_it_was_trained_on_are_left_out_and_told(adapter, world, tiny_llama_dir):
    questions, index = world
    names = sorted({one.evidence[0].document_id for one in questions if one.evidence})
    record = json.loads((adapter / "rag_ft.json").read_text())
    (adapter / "rag_ft.json").write_text(json.dumps({**record, "data": {"documents": names[:1]}}))
    about = sum(any(one.document_id == names[0] for one in question.evidence) for question in questions)
    said = []
    score = calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir), say=said.append)
    assert score.questions == len(questions) - about < len(questions)
    assert said[0] == f"{about} of 12 questions are left out: the adapter was trained on their documents"
    assert said[1].startswith("now       threshold 0.900: on 9 questions, F1 on answerable 0.0")
    assert "abstention recall" in said[1] and len(said) == 2
    (adapter / "rag_ft.json").write_text(json.dumps({**record, "data": {"documents": names}}))
    with pytest.raises(DatasetError, match="are about documents that the adapter was trained on"):
        calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir))


def test_one_kind_of_questions_alone_is_refused(adapter, world, tiny_llama_dir):
    questions, index = world
    for kept, lacking in ((True, "unanswerable"), (False, "answerable")):
        some = [one for one in questions if one.answerable is kept]
        with pytest.raises(DatasetError, match=f"is {lacking}"):
            calibrate_adapter(adapter, some, index, reader=str(tiny_llama_dir))


def test_an_adapter_without_a_record_has_no_place_for_a_threshold(adapter, world, tiny_llama_dir):
    (adapter / "rag_ft.json").unlink()
    with pytest.raises(WeightsError, match="no place for a threshold"):
        calibrate_adapter(adapter, *world, reader=str(tiny_llama_dir))


def test_the_card_of_the_packaged_adapter_says_what_its_record_says():
    packaged = resolve_adapter(adapter_folder("packaged"))
    base = json.loads((packaged.path / "adapter_config.json").read_text())["base_model_name_or_path"]
    record = adapter_record(packaged)
    assert (packaged.path / "README.md").read_text() == model_card(record, base)
    assert "as the lowest that recognises 65% of the unanswerable ones" in model_card(record, base)
    record["threshold"]["chosen_on"]["margin"] = True
    assert "as the lowest that is sure to recognise 65% of the unanswerable" in model_card(record, base)
