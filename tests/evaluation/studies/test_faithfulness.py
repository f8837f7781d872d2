from data import little_world
from fakes import HashingEmbedder

from rag_ft.evaluation.arms.baselines import FunctionArm
from rag_ft.evaluation.runner import retrieved
from rag_ft.evaluation.studies.faithfulness import faithfulness, swapped
from rag_ft.indexing.index import Index


def _asked(tmp_path, k=1):
    documents, questions = little_world()
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    return retrieved(questions, index.as_retriever(k=k))


def test_swaps_change_the_one_passage_that_holds_the_answer_and_keep_the_type(tmp_path):
    asked = _asked(tmp_path)
    swaps = swapped(asked)
    assert swaps == swapped(asked)
    before = {one.question.id: one for one in asked}
    assert len(swaps) == sum(one.question.answerable for one in asked)
    for name, (one, answer) in swaps.items():
        real = one.question.answers[0]
        text, was = one.hits[0].passage.text, before[name].hits[0].passage.text
        assert real not in text and answer in text and answer not in was
        assert answer.endswith("metres") == real.endswith("metres")


def test_reading_follows_and_reciting_remembers(tmp_path):
    asked = _asked(tmp_path)
    swaps = swapped(asked)
    real = {one.question.question: one.question.answers[0] for one in asked if one.question.answers}

    def reads(question, passages):
        words = passages[0].text.split()
        return " ".join(words[5:7]) if "high" in question else next(one for one in words if one.startswith("19"))

    questions = [one for one, _ in swaps.values()]
    reader = faithfulness(FunctionArm("reads", reads).reply(questions), swaps)
    assert (reader.followed.mean, reader.remembered.mean) == (1.0, 0.0)
    recites = FunctionArm("recites", lambda question, passages: real[question]).reply(questions)
    found = faithfulness(recites, swaps)
    assert (found.followed.mean, found.remembered.mean) == (0.0, 1.0)
    assert faithfulness([], swaps) is None


def test_an_answer_in_two_passages_is_not_swapped(tmp_path):
    asked = _asked(tmp_path)
    twice = asked[0]._replace(hits=(asked[0].hits[0], asked[0].hits[0].model_copy(update={"rank": 2})))
    assert asked[0].question.id not in swapped([twice, *asked[1:]])
