import pytest

from rag_ft.evaluation.answer_metrics import exact_match, normalise, token_f1


def test_normalisation_follows_the_squad_script():
    assert normalise("The  Cat's, (a) hat!") == "cats hat"
    assert normalise("an answer") == "answer"


def test_exact_match_takes_any_accepted_answer():
    assert exact_match("the Normans", ["Vikings", "Normans."]) == 1.0
    assert exact_match("Norman", ["Normans"]) == 0.0


def test_null_is_right_exactly_where_nothing_is_accepted():
    assert exact_match(None, []) == token_f1(None, []) == 1.0
    assert exact_match(None, ["x"]) == token_f1(None, ["x"]) == 0.0
    assert exact_match("x", []) == token_f1("x", []) == 0.0


def test_f1_counts_repeated_tokens():
    # 2 shared of 3 given and 2 accepted: precision 2/3, recall 1
    assert token_f1("x y y", ["x y"]) == pytest.approx(0.8)
    assert token_f1("y y", ["y"]) == pytest.approx(2 / 3)
    assert token_f1("10th and 11th centuries", ["in the 10th and 11th centuries", "10th"]) == pytest.approx(8 / 9)
