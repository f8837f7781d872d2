import pytest
from data import little_world
from fakes import HashingEmbedder

from rag_ft.evaluation.arms.baselines import PassageArm
from rag_ft.evaluation.arms.readers import ReaderArm
from rag_ft.evaluation.evaluate import evaluate
from rag_ft.evaluation.figures import f1_of
from rag_ft.evaluation.recipe import Recipe
from rag_ft.evaluation.runner import read_predictions, retrieved
from rag_ft.evaluation.studies.development import choose_thresholds
from rag_ft.indexing.index import Index
from rag_ft.metrics.thresholds import best_threshold, harmonic_mean
from rag_ft.questions.records import write_questions


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    documents, questions = little_world()
    return Index.build(documents, tmp_path_factory.mktemp("world") / "index", embedder=HashingEmbedder()), questions


def _arm(folder, name="tiny"):
    from rag_ft.answering.reader import Reader

    return ReaderArm(name, Reader.from_pretrained(str(folder), threshold=0.0), 3)


def test_the_threshold_is_the_one_that_serves_both_best_on_the_development_questions(world, tiny_llama_dir, tmp_path):
    index, questions = world
    asked = retrieved(questions, index.as_retriever(k=3))
    (arm, other), chosen = choose_thresholds(
        [_arm(tiny_llama_dir), PassageArm("top")], ["tiny"], asked, tmp_path / "development"
    )
    assert list(chosen) == ["tiny"] and other == PassageArm("top")
    found = chosen["tiny"]
    assert (found.questions, found.unanswerable, found.documents) == (24, 8, 8)
    assert arm.reader.threshold == found.threshold == arm.settings["threshold"]
    assert arm.settings["threshold chosen on"] == "24 development questions about 8 documents"
    by_id = {one.id: one for one in questions}
    made = [(one, by_id[one.question_id]) for one in read_predictions(tmp_path / "development" / "predictions.jsonl")]

    def worth(threshold):
        f1 = [f1_of(one, q) * (one.confidence >= threshold) for one, q in made if q.answerable]
        null = [one.confidence < threshold for one, q in made if not q.answerable]
        return harmonic_mean(sum(f1) / len(f1), sum(null) / len(null))

    answered = [(one.confidence, f1_of(one, q)) for one, q in made if q.answerable]
    assert found.threshold == round(
        best_threshold(answered, [one.confidence for one, q in made if not q.answerable]), 6
    )
    assert worth(found.threshold) == pytest.approx(harmonic_mean(found.f1_answerable, found.null_recognised), abs=1e-5)


def test_with_its_threshold_a_reader_declines_what_it_is_less_sure_of(world, tiny_llama_dir, tmp_path, monkeypatch):
    """The tiny reader is right about nothing, so that the rule would choose 0; here it is given."""
    from rag_ft.evaluation.studies import development

    monkeypatch.setattr(development, "best_threshold", lambda answered, null: sum(sorted(null)[-2:]) / 2)
    index, questions = world
    asked = retrieved(questions, index.as_retriever(k=3))
    (arm,), chosen = choose_thresholds([_arm(tiny_llama_dir)], ["tiny"], asked, tmp_path)
    assert chosen["tiny"].threshold > 0 and chosen["tiny"].null_recognised > 0.5
    sure = {one.question_id: one.confidence for one in read_predictions(tmp_path / "predictions.jsonl")}
    declined = [one.question_id for one in arm.reply(asked) if one.answer is None]
    assert declined and declined == [one.id for one in questions if sure[one.id] < chosen["tiny"].threshold]


def test_an_evaluation_that_goes_on_chooses_the_same_without_asking_again(world, tiny_llama_dir, tmp_path):
    index, questions = world
    asked = retrieved(questions, index.as_retriever(k=3))
    _, first = choose_thresholds([_arm(tiny_llama_dir)], ["tiny"], asked, tmp_path / "development")
    told = []
    _, second = choose_thresholds(
        [_arm(tiny_llama_dir)], ["tiny"], asked, tmp_path / "development", on_progress=told.append
    )
    assert second == first and told == []


def test_thresholds_stand_in_results_and_report_and_their_questions_are_not_judged(world, tiny_llama_dir, tmp_path):
    index, questions = world
    write_questions(questions, tmp_path / "qa.jsonl")
    recipe = Recipe.model_validate(
        {
            "title": "t",
            "questions": str(tmp_path / "qa.jsonl"),
            "documents": str(tmp_path),
            "primary": {"first": "tiny", "second": "top"},
            "development": {"questions": 5, "share": 0.5},
            "arm": [
                {"name": "tiny", "kind": "reader", "adapter": "none", "threshold": "development"},
                {"name": "top", "kind": "passage"},
            ],
        }
    )
    out = tmp_path / "out"
    report = evaluate(recipe, out, arms=lambda _, __: [_arm(tiny_llama_dir), PassageArm("top")], index=index)
    chosen = report.results.development["tiny"]
    assert chosen.questions == 5 and report.results.questions == 12
    apart = {one.question_id.split("-")[0] for one in read_predictions(out / "development" / "predictions.jsonl")}
    assert not apart & {one.id.split("-")[0] for one in report.questions}
    assert report.results.settings["tiny"]["threshold"] == chosen.threshold
    for name in ("report.html", "report.md"):
        text = (out / name).read_text()
        assert f"Declining every question would get F1 {1 - report.results.answerable / 12:.3f}" in text
        assert "chosen on 5 other questions" in text and f"threshold {chosen.threshold}" in text
