import json

import pytest
from data import little_world
from fakes import HashingEmbedder
from little_evaluation import asking, little_arms

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.baselines import PassageArm
from rag_ft.evaluation.arms.encoder import EncoderArm
from rag_ft.evaluation.arms.readers import ReaderArm
from rag_ft.evaluation.documents import count_chosen_on, count_leaks
from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.report.pages import markdown
from rag_ft.indexing.index import Index


def test_questions_about_other_documents_than_the_index_has_are_reported(prepared, tmp_path):
    index, recipe = prepared
    questions = little_world()[1]

    def moved(one):
        return one.model_copy(
            update={"evidence": tuple(e.model_copy(update={"document_id": "Rome.txt"}) for e in one.evidence)}
        )

    some = asking(recipe, tmp_path, [moved(question) for question in questions[:3]] + questions[3:])
    report = evaluate_recipe(some, tmp_path / "some", arms=little_arms, index=index)
    assert report.results.foreign == 3
    assert "3 questions are about documents that the index does not have" in (tmp_path / "some/report.md").read_text()
    none = asking(recipe, tmp_path, [moved(question) for question in questions])
    with pytest.raises(
        EvaluationError, match=r"none of the 24 questions is about a document of the index.*'Rome\.txt'"
    ):
        evaluate_recipe(none, tmp_path / "none", arms=little_arms, index=index)


def test_documents_that_were_edited_since_the_questions_were_written_stop_the_run(prepared, tmp_path):
    documents, _ = little_world()
    edited = [document.model_copy(update={"text": "Preface. " + document.text}) for document in documents]
    index = Index.build(edited, tmp_path / "index", embedder=HashingEmbedder())
    with pytest.raises(
        EvaluationError, match=r"24 pieces of evidence are not where the questions say \(question Oslo-"
    ):
        evaluate_recipe(prepared[1], tmp_path / "out", arms=little_arms, index=index)
    assert not (tmp_path / "out" / "predictions.jsonl").exists()


def test_questions_that_an_adapter_was_chosen_on_are_counted_and_reported(prepared, tmp_path):
    from types import SimpleNamespace

    (tmp_path / "tuning.json").write_text(json.dumps({"data": {"held_out": ["Oslo.txt"]}}))
    loaded = SimpleNamespace(adapter=None, weights=SimpleNamespace(path=tmp_path))
    arm = ReaderArm("tuned", SimpleNamespace(loaded=loaded, cross_encoder=None), 3)
    questions = little_world()[1]
    about = sum(any(piece.document_id == "Oslo.txt" for piece in question.evidence) for question in questions)
    assert about and count_chosen_on([arm, PassageArm("top")], questions) == {"tuned": about}
    index, recipe = prepared
    report = evaluate_recipe(recipe, tmp_path / "out", arms=little_arms, index=index)
    results = report.results.model_copy(update={"chosen_on": {"reads": about}})
    notes = markdown(report.model_copy(update={"results": results}))
    assert f"{about} questions are about held-out documents of the adapter of “reads”" in notes


def test_questions_that_a_merged_reader_was_tuned_on_are_counted_as_those_of_an_adapter_are(
    prepared, tmp_path, tiny_llama_dir
):
    from types import SimpleNamespace

    index, _ = prepared
    _, questions = little_world()
    prints = [index.document_fingerprint("Oslo.txt")[:16]]
    (tmp_path / "tuning.json").write_text(json.dumps({"data": {"document_fingerprints": prints}}))
    merged = SimpleNamespace(adapter=None, weights=SimpleNamespace(path=tmp_path))
    untuned = SimpleNamespace(adapter=None, weights=SimpleNamespace(path=tiny_llama_dir))
    arms = [
        ReaderArm(name, SimpleNamespace(loaded=loaded, cross_encoder=None), 3)
        for name, loaded in (("merged", merged), ("untuned", untuned))
    ]
    about = sum(any(piece.document_id == "Oslo.txt" for piece in question.evidence) for question in questions)
    assert about and count_leaks(arms, questions, index) == {"merged": about}


def test_questions_that_a_cross_encoder_was_tuned_or_chosen_on_are_counted_too(prepared, tmp_path, tiny_llama_dir):
    from types import SimpleNamespace

    index, _ = prepared
    _, questions = little_world()
    prints = [index.document_fingerprint("Oslo.txt")[:16]]
    record = {"data": {"document_fingerprints": prints, "held_out": ["Lima.txt"]}}
    tuned, packaged = (
        SimpleNamespace(record=one, fingerprint="f") for one in (record, {"data": {"documents": 9140, "questions": 9}})
    )
    untuned = SimpleNamespace(adapter=None, weights=SimpleNamespace(path=tiny_llama_dir))
    arms = [
        ReaderArm("beside", SimpleNamespace(loaded=untuned, cross_encoder=tuned), 3),
        EncoderArm("alone", SimpleNamespace(cross_encoder=tuned, threshold=0.5, whole_sentences=False), 3),
        EncoderArm("packaged alone", SimpleNamespace(cross_encoder=packaged, threshold=0.5, whole_sentences=False), 3),
    ]
    about = {
        name: sum(any(piece.document_id == name for piece in question.evidence) for question in questions)
        for name in ("Oslo.txt", "Lima.txt")
    }
    assert count_leaks(arms, questions, index) == dict.fromkeys(("beside", "alone"), about["Oslo.txt"])
    assert count_chosen_on(arms, questions) == dict.fromkeys(("beside", "alone"), about["Lima.txt"])


def test_documents_trained_on_are_found_by_fingerprint_under_another_name(tmp_path):
    from fakes import HashingEmbedder

    from rag_ft.indexing.index import Index
    from rag_ft.models.adapter_record import trained_documents

    documents, _ = little_world(2)
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    prints = [index.document_fingerprint("Oslo.txt")[:16]]
    record = {"data": {"documents": ["was-called-this.txt", "Lima.txt"], "document_fingerprints": prints}}
    assert trained_documents(record, index.document_fingerprints()) == {"Oslo.txt"}
    assert trained_documents({"data": {"documents": ["Lima.txt"]}}, index.document_fingerprints()) == {"Lima.txt"}
    assert trained_documents({}, index.document_fingerprints()) == frozenset()
