import json
import os
from dataclasses import replace

import pytest
from data import little_world
from fakes import HashingEmbedder
from tiny_adapters import make_adapter

from rag_ft.adapters.calibrate import calibrate_adapter
from rag_ft.adapters.info import adapter_info
from rag_ft.answering.confidence import PlattScale
from rag_ft.answering.reader import Reader
from rag_ft.errors import DatasetError, UsageError, WeightsError
from rag_ft.indexing.index import Index
from rag_ft.metrics.thresholds import best_threshold
from rag_ft.models.adapter_record import adapter_record
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.weights import resolve_adapter
from rag_ft.training import scoring
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
    hits = index.as_retriever(k=3).retrieve_batch([question.question for question in questions])
    readings = [
        reader.read(question.question, [hit.passage for hit in ranked])
        for question, ranked in zip(questions, hits, strict=True)
    ]
    # What the rule sees here: a random model is never right, so only null counts.
    pairs = list(zip(readings, questions, strict=True))
    answered = [(reading.answer_confidence, 0.0) for reading, question in pairs if question.answerable]
    null = [reading.answer_confidence for reading, question in pairs if not question.answerable]
    if score.must_answer_f1 == 0:
        assert best_threshold(answered, null) == pytest.approx(score.threshold, abs=1e-6)


def test_the_scale_is_fitted_on_the_readers_own_confidences_however_often(
    adapter, world, tiny_llama_dir, monkeypatch, caplog
):
    """The tiny reader is never right: here half of its answers count as right."""
    questions, index = world
    monkeypatch.setattr(scoring, "FEWEST", len(questions))
    monkeypatch.setattr(scoring, "is_correct", lambda answer, question, yes: len(answer) % 2 == 0)
    caplog.set_level("INFO", "rag_ft.adapters")
    thresholds = []
    for _ in range(2):
        score = calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir), recognise=0.3)
        thresholds.append(json.loads((adapter / "rag_ft.json").read_text())["threshold"])
    assert thresholds[0] == thresholds[1]
    scale = PlattScale.model_validate(thresholds[0]["platt"])
    reader = Reader.from_pretrained(str(tiny_llama_dir), adapter=adapter, threshold=0.0)
    assert reader.scale == scale != PlattScale()
    hits = index.as_retriever(k=3).retrieve_batch([question.question for question in questions])
    readings = [
        reader.read(question.question, [hit.passage for hit in ranked])
        for question, ranked in zip(questions, hits, strict=True)
    ]
    pairs = list(zip(readings, questions, strict=True))
    right = [question.answerable and len(reading.answer) % 2 == 0 for reading, question in pairs]
    expected = fit_platt([reading.not_null for reading in readings], right)
    assert (scale.slope, scale.intercept) == pytest.approx((expected.slope, expected.intercept), rel=1e-3)
    null = [reading.answer_confidence for reading, question in pairs if not question.answerable]
    below = sum(confidence < thresholds[0]["value"] for confidence in null)
    assert below / len(null) == score.null_recognised == 0.75
    assert any(line.startswith("scale     how often such an answer is right") for line in caplog.messages)
    # What was chosen before is measured on the scale that it was chosen on.
    assert caplog.messages[-2] == f"now       {score.line()}"


def test_thresholds_of_kinds_are_written_and_what_was_chosen_before_is_measured_with_them(
    adapter, world, tiny_llama_dir, monkeypatch, caplog
):
    """The tiny reader gives spans only: here every second answer counts as a part."""
    questions, index = world
    monkeypatch.setattr(scoring, "FEWEST", 1)
    monkeypatch.setattr(scoring, "FEWEST_OF_EACH", 1)
    judged = scoring.judged_answers

    def with_parts(pairs):
        kinds = ("span", "part") * len(pairs)
        return judged(
            [(replace(reading, kind=kind), question) for kind, (reading, question) in zip(kinds, pairs, strict=False)]
        )

    monkeypatch.setattr(scoring, "judged_answers", with_parts)
    monkeypatch.setattr(scoring, "score_of", lambda answer, question, yes: 0.5)
    caplog.set_level("INFO", "rag_ft.adapters")
    for _ in range(2):
        score = calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir))
    assert set(score.kinds) == {"span", "part"}
    threshold = json.loads((adapter / "rag_ft.json").read_text())["threshold"]
    assert threshold["kinds"] == {kind: own.model_dump() for kind, own in score.kinds.items()}
    assert "kinds" not in threshold["chosen_on"]
    assert Reader.from_pretrained(str(tiny_llama_dir), adapter=adapter).kinds == score.kinds
    assert f"now       {score.line()}" in caplog.messages
    assert adapter_info(adapter).kinds == score.kinds


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_kill_never_leaves_a_card_that_names_another_threshold(adapter, monkeypatch, renamed):
    from rag_ft.training.saving import write_record

    (adapter / "README.md").write_text("threshold 1")
    replace, renames = os.replace, []

    def killed(source, target):
        if len(renames) == renamed:
            raise KeyboardInterrupt
        renames.append(replace(source, target))

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


def test_questions_without_evidence_are_reported_where_the_adapter_may_know_them(
    adapter, world, tiny_llama_dir, caplog
):
    questions, index = world
    record = json.loads((adapter / "rag_ft.json").read_text())
    (adapter / "rag_ft.json").write_text(json.dumps({**record, "data": {"documents": ["Oslo.txt"]}}))
    bare = [question if question.answerable else question.model_copy(update={"evidence": ()}) for question in questions]
    caplog.set_level("INFO", "rag_ft.adapters")
    calibrate_adapter(adapter, bare, index, reader=str(tiny_llama_dir), dry_run=True)
    assert (
        "4 questions name no evidence: whether the adapter was trained on their documents is unknown" in caplog.messages
    )


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


def test_questions_about_documents_that_it_was_trained_on_are_excluded_and_counted(
    adapter, world, tiny_llama_dir, caplog
):
    questions, index = world
    names = sorted({question.evidence[0].document_id for question in questions if question.evidence})
    record = json.loads((adapter / "rag_ft.json").read_text())
    (adapter / "rag_ft.json").write_text(json.dumps({**record, "data": {"documents": names[:1]}}))
    about = sum(any(evidence.document_id == names[0] for evidence in question.evidence) for question in questions)
    caplog.set_level("INFO", "rag_ft.adapters")
    score = calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir))
    assert score.questions == len(questions) - about < len(questions)
    assert caplog.messages[0] == f"{about} of 12 questions are excluded: the adapter was trained on their documents"
    assert caplog.messages[1].startswith("now       threshold 0.900: on 9 questions, F1 on answerable 0.0")
    assert "abstention recall" in caplog.messages[1] and len(caplog.messages) == 2
    (adapter / "rag_ft.json").write_text(json.dumps({**record, "data": {"documents": names}}))
    with pytest.raises(DatasetError, match="are about documents that the adapter was trained on"):
        calibrate_adapter(adapter, questions, index, reader=str(tiny_llama_dir))


def test_one_kind_of_questions_alone_is_refused(adapter, world, tiny_llama_dir):
    questions, index = world
    for kept, lacking in ((True, "unanswerable"), (False, "answerable")):
        some = [question for question in questions if question.answerable is kept]
        with pytest.raises(DatasetError, match=f"is {lacking}"):
            calibrate_adapter(adapter, some, index, reader=str(tiny_llama_dir))


def test_an_adapter_without_a_record_cannot_hold_a_threshold(adapter, world, tiny_llama_dir):
    (adapter / "rag_ft.json").unlink()
    with pytest.raises(WeightsError, match="to write a threshold into"):
        calibrate_adapter(adapter, *world, reader=str(tiny_llama_dir))


def test_the_card_of_the_packaged_adapter_says_what_its_record_says():
    packaged = resolve_adapter(adapter_folder("packaged"))
    base = json.loads((packaged.path / "adapter_config.json").read_text())["base_model_name_or_path"]
    record = adapter_record(packaged)
    assert (packaged.path / "README.md").read_text() == model_card(record, base)
    assert "as the lowest that recognises 65% of the unanswerable ones" in model_card(record, base)
    record["threshold"]["chosen_on"]["margin"] = True
    assert "as the lowest that is sure to recognise 65% of the unanswerable" in model_card(record, base)
