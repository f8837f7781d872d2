import pytest
from data import little_world
from fakes import HashingEmbedder

from rag_ft.evaluation.arms.baselines import PassageArm
from rag_ft.evaluation.arms.readers import ReaderArm
from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.figures import f1_of
from rag_ft.evaluation.recipe import Recipe
from rag_ft.evaluation.runner import read_predictions, retrieve_cases
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
    asked = retrieve_cases(questions, index.as_retriever(k=3))
    (arm, other), chosen = choose_thresholds(
        [_arm(tiny_llama_dir), PassageArm("top")], ["tiny"], asked, tmp_path / "development"
    )
    assert list(chosen) == ["tiny"] and other == PassageArm("top")
    choice = chosen["tiny"]
    assert (choice.questions, choice.unanswerable, choice.documents) == (24, 8, 8)
    assert arm.reader.threshold == choice.threshold == arm.settings["threshold"]
    assert arm.settings["threshold chosen on"] == "24 development questions about 8 documents"
    by_id = {question.id: question for question in questions}
    pairs = [
        (prediction, by_id[prediction.question_id])
        for prediction in read_predictions(tmp_path / "development" / "predictions.jsonl")
    ]

    def worth(threshold):
        f1 = [f1_of(prediction, q) * (prediction.confidence >= threshold) for prediction, q in pairs if q.answerable]
        null = [prediction.confidence < threshold for prediction, q in pairs if not q.answerable]
        return harmonic_mean(sum(f1) / len(f1), sum(null) / len(null))

    answered = [(prediction.confidence, f1_of(prediction, q)) for prediction, q in pairs if q.answerable]
    assert choice.threshold == round(
        best_threshold(answered, [prediction.confidence for prediction, q in pairs if not q.answerable]), 6
    )
    assert worth(choice.threshold) == pytest.approx(
        harmonic_mean(choice.f1_answerable, choice.null_recognised), abs=1e-5
    )


def test_with_its_threshold_a_reader_declines_what_it_is_less_sure_of(world, tiny_llama_dir, tmp_path, monkeypatch):
    """The tiny reader is right about nothing, so that the rule would choose 0; here it is given."""
    from rag_ft.evaluation.studies import development

    monkeypatch.setattr(development, "best_threshold", lambda answered, null: sum(sorted(null)[-2:]) / 2)
    index, questions = world
    asked = retrieve_cases(questions, index.as_retriever(k=3))
    (arm,), chosen = choose_thresholds([_arm(tiny_llama_dir)], ["tiny"], asked, tmp_path)
    assert chosen["tiny"].threshold > 0 and chosen["tiny"].null_recognised > 0.5
    sure = {
        prediction.question_id: prediction.confidence for prediction in read_predictions(tmp_path / "predictions.jsonl")
    }
    declined = [prediction.question_id for prediction in arm.reply(asked) if prediction.answer is None]
    assert declined and declined == [
        question.id for question in questions if sure[question.id] < chosen["tiny"].threshold
    ]


def test_an_evaluation_that_goes_on_chooses_the_same_without_asking_again(world, tiny_llama_dir, tmp_path):
    index, questions = world
    asked = retrieve_cases(questions, index.as_retriever(k=3))
    _, first = choose_thresholds([_arm(tiny_llama_dir)], ["tiny"], asked, tmp_path / "development")
    seen = []
    _, second = choose_thresholds(
        [_arm(tiny_llama_dir)], ["tiny"], asked, tmp_path / "development", on_progress=seen.append
    )
    assert second == first and seen == []


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
    report = evaluate_recipe(recipe, out, arms=lambda _, __: [_arm(tiny_llama_dir), PassageArm("top")], index=index)
    chosen = report.results.development["tiny"]
    assert chosen.questions == 5 and report.results.questions == 12
    apart = {
        prediction.question_id.split("-")[0]
        for prediction in read_predictions(out / "development" / "predictions.jsonl")
    }
    assert not apart & {question.id.split("-")[0] for question in report.questions}
    assert report.results.settings["tiny"]["threshold"] == chosen.threshold
    for name in ("report.html", "report.md"):
        text = (out / name).read_text()
        assert f"Declining every question would get F1 {1 - report.results.answerable / 12:.3f}" in text
        assert "of rag-ft train on 5 other questions" in text and f"threshold {chosen.threshold}" in text
