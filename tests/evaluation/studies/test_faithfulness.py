from data import little_world
from fakes import HashingEmbedder

from rag_ft.evaluation.arms.baselines import FunctionArm
from rag_ft.evaluation.runner import retrieve_cases
from rag_ft.evaluation.studies.faithfulness import faithfulness, swap_answers
from rag_ft.indexing.index import Index


def _asked(tmp_path, k=1):
    documents, questions = little_world()
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    return retrieve_cases(questions, index.as_retriever(k=k))


def test_swaps_change_the_one_passage_that_holds_the_answer_and_keep_the_type(tmp_path):
    asked = _asked(tmp_path)
    swaps = swap_answers(asked)
    assert swaps == swap_answers(asked)
    before = {case.question.id: case for case in asked}
    assert len(swaps) == sum(case.question.answerable for case in asked)
    for name, (case, answer) in swaps.items():
        real = case.question.answers[0]
        text, was = case.hits[0].passage.text, before[name].hits[0].passage.text
        assert real not in text and answer in text and answer not in was
        assert answer.endswith("metres") == real.endswith("metres")


def test_parts_and_yes_or_no_are_left_out_because_a_swap_would_ask_something_else(tmp_path):
    asked = _asked(tmp_path)
    for yes in (None, True):
        parts = [
            case._replace(question=case.question.model_copy(update={"kind": "part", "yes": yes})) for case in asked
        ]
        assert swap_answers(parts) == {}
        mixed = swap_answers([*parts[:3], *asked[3:]])
        assert mixed and not {case.question.id for case in asked[:3]} & set(mixed)


def test_reading_follows_and_reciting_remembers(tmp_path):
    asked = _asked(tmp_path)
    swaps = swap_answers(asked)
    real = {case.question.question: case.question.answers[0] for case in asked if case.question.answers}

    def reads(question, passages):
        words = passages[0].text.split()
        return " ".join(words[5:7]) if "high" in question else next(word for word in words if word.startswith("19"))

    questions = [case for case, _ in swaps.values()]
    reader = faithfulness(FunctionArm("reads", reads).reply(questions), swaps)
    assert (reader.followed.mean, reader.remembered.mean) == (1.0, 0.0)
    recites = FunctionArm("recites", lambda question, passages: real[question]).reply(questions)
    study = faithfulness(recites, swaps)
    assert (study.followed.mean, study.remembered.mean) == (0.0, 1.0)
    assert faithfulness([], swaps) is None


def test_an_answer_in_two_passages_is_not_swapped(tmp_path):
    asked = _asked(tmp_path)
    twice = asked[0]._replace(hits=(asked[0].hits[0], asked[0].hits[0].model_copy(update={"rank": 2})))
    assert asked[0].question.id not in swap_answers([twice, *asked[1:]])
