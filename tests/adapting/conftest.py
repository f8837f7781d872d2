"""What tests of an adaptation share: a comparison of readers that are functions."""

from typing import NamedTuple

import pytest
from data import bigger_world
from fakes import HashingEmbedder


class Compared(NamedTuple):
    """A comparison with what it was made from."""

    results: object
    replies: dict
    questions: dict
    index: object


@pytest.fixture
def compare(tmp_path):
    """Compare readers on the records of a world: their answer to a record, by arm."""
    from rag_ft.adapting.judge import judged_questions, stored_replies
    from rag_ft.adapting.stages import opened
    from rag_ft.evaluation.arms.baselines import FunctionArm
    from rag_ft.evaluation.evaluate import evaluate_recipe
    from rag_ft.evaluation.recipe import Recipe
    from rag_ft.indexing.index import Index
    from rag_ft.questions.records import write_questions

    def of(answers, change=lambda record: record, count=12):
        documents, records = bigger_world(count)
        records = [change(record) for record in records]
        with opened(tmp_path / "out") as folder:
            index = Index.build(documents, folder.file("index"), embedder=HashingEmbedder(), progress=False)
            write_questions(records, folder.file("held-out.jsonl"))
            by_text = {record.question: record for record in records}
            recipe = Recipe.model_validate(
                {
                    "title": "Functions",
                    "questions": str(folder.file("held-out.jsonl")),
                    "documents": str(tmp_path),
                    "primary": {"first": "after tuning", "second": "before tuning"},
                    "arm": [{"name": name, "kind": "passage"} for name in answers],
                }
            )
            arms = [
                FunctionArm(name, lambda question, _, answer=answer: answer(by_text[question]))
                for name, answer in answers.items()
            ]
            results = evaluate_recipe(recipe, folder.file("evaluation"), arms=lambda *_: arms, index=index).results
            return Compared(results, stored_replies(folder), judged_questions(folder), index)

    return of
