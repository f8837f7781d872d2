"""An evaluation of the little world without models: index, recipe, arms."""

from data import little_world
from fakes import HashingEmbedder

from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm, SentenceArm
from rag_ft.evaluation.recipe import Recipe
from rag_ft.indexing.index import Index
from rag_ft.questions.records import write_questions


def prepare(folder):
    """Index and recipe over the little world."""
    documents, questions = little_world()
    write_questions(questions, folder / "qa.jsonl")
    index = Index.build(documents, folder / "index", embedder=HashingEmbedder())
    arm = [{"name": name, "kind": "passage"} for name in ("reads", "top", "sentence")]
    recipe = Recipe.model_validate(
        {
            "title": "Little <b>world</b>",
            "questions": str(folder / "qa.jsonl"),
            "documents": str(folder),
            "primary": {"first": "reads", "second": "top"},
            "arm": arm,
        }
    )
    return index, recipe


def little_answer(question, passages):
    """The answer, by the form of the little world's sentences."""
    words = passages[0].text.split()
    if "high" in question:
        return " ".join(words[5:7])
    return next(word for word in words if word.startswith("19")) if "built" in question else None


def little_arms(recipe, index):
    """An arm that knows the form of its answers, and two that quote."""
    return [FunctionArm("reads", little_answer), PassageArm("top"), SentenceArm("sentence", index.embedder)]


def asking(recipe, folder, questions):
    """The recipe with other questions."""
    write_questions(questions, folder / "some.jsonl")
    return recipe.model_copy(update={"questions": str(folder / "some.jsonl"), "faithfulness": True})
