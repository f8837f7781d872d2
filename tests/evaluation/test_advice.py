from rag_ft.evaluation.advice import STANDING, advise, role_of
from rag_ft.evaluation.figures import arm_figures, contrasts
from rag_ft.evaluation.predictions import CitedPlace, Place, Prediction
from rag_ft.schema import Evidence, Question

SETTINGS = {
    "asked": {"kind": "closed book", "adapter": None},
    "sentence": {"kind": "sentence"},
    "prompted": {"kind": "reader", "adapter": None, "gold first": False},
    "recites": {"kind": "closed book", "adapter": "a"},
    "tuned": {"kind": "reader", "adapter": "a", "gold first": False},
    "perfect": {"kind": "reader", "adapter": "a", "gold first": True},
    "passage": {"kind": "passage"},
}


def _questions(count=40):
    return {
        f"q{number}": Question(
            id=f"q{number}",
            question="?",
            answers=("1905",),
            evidence=(Evidence(document_id=f"d{number}", start=3, end=7, quote="1905"),),
        )
        for number in range(count)
    }


def _arm(name, questions, right, declined=0):
    made = []
    for place, question in enumerate(questions):
        answer = "1905" if place < right else None if place < right + declined else "1906"
        gold = Place(document_id=f"d{place}", start=0, end=50)
        cited = (CitedPlace(passage=gold, quote="…", verdict="supported"),) if answer else ()
        passages = () if SETTINGS[name]["kind"] == "closed book" else (gold,)
        made.append(Prediction(arm=name, question_id=question, answer=answer, citations=cited, passages=passages))
    return made


def _advice(**right):
    questions = _questions()
    arms = {}
    for name, value in right.items():
        count, declined = value if isinstance(value, tuple) else (value, 0)
        arms[name] = _arm(name, questions, count, declined)
    figures = [arm_figures(made, questions) for made in arms.values()]
    return advise(figures, SETTINGS, contrasts(arms, questions))


def test_roles_follow_from_settings():
    assert [role_of(one) for one in SETTINGS.values()] == [
        "prompt",
        "retrieve",
        "retrieve and prompt",
        "tune",
        "both",
        "both, perfect retrieval",
        None,
    ]


def test_a_clear_winner_is_the_advice_with_its_figures():
    found = _advice(asked=2, sentence=10, prompted=14, recites=3, tuned=34)
    assert found.choice == "both"
    assert "“tuned” has F1 0.850" in found.reasons[0] and "Holm's p" in found.reasons[0]
    assert found.standing == STANDING


def test_retrieval_without_tuning_can_win():
    assert _advice(asked=2, prompted=34, tuned=12).choice == "retrieve"
    assert _advice(asked=34, prompted=4, tuned=12).choice == "prompt"
    assert _advice(asked=3, recites=36, tuned=12).choice == "tune"


def test_close_arms_cannot_be_told_apart_and_the_detectable_difference_is_said():
    found = _advice(prompted=20, tuned=21)
    assert found.choice == "cannot tell"
    assert "cannot tell “both” from “retrieve and prompt”" in found.reasons[0]
    assert "would have shown a difference of" in found.reasons[0]


def test_the_loss_is_split_between_retriever_and_reader():
    retriever = _advice(prompted=5, tuned=14, perfect=36).reasons[1]
    assert retriever.endswith("work on the retriever next.") and "win back 0.550" in retriever
    reader = _advice(prompted=5, tuned=14, perfect=15).reasons[1]
    assert reader.endswith("work on the reader next.") and "cannot be told from zero" in reader


def test_a_reader_that_declines_too_much_is_told():
    assert _advice(prompted=5, tuned=(20, 15)).reasons[-1].endswith("lower its threshold.")


def test_one_way_of_answering_is_no_choice():
    assert _advice(tuned=20).choice == "cannot tell"
