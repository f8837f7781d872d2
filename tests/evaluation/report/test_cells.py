from rag_ft.evaluation.figures import Figure
from rag_ft.evaluation.report.cells import (
    accepted,
    escaped,
    markdown_table,
    number,
    share,
    signed,
    stated,
    with_interval,
)
from rag_ft.schema import Question

FIGURE = Figure(mean=0.5, low=0.25, high=0.75, questions=4, documents=2)


def test_a_mean_has_its_interval_where_there_is_one():
    assert with_interval(FIGURE) == "0.500 [0.250, 0.750]" and signed(FIGURE) == "+0.500 [+0.250, +0.750]"
    alone = FIGURE.model_copy(update={"low": None})
    assert with_interval(alone) == "0.500" and signed(alone) == "+0.500"


def test_what_could_not_be_measured_is_a_dash():
    assert with_interval(None) == share(None) == number(None, ".3f") == "–"
    assert (share(0.256), number(2.5e6, ",.1f", 1e6)) == ("26%", "2.5")


def test_what_an_answer_decides_stands_before_it():
    assert [stated("x", yes) for yes in (True, False, None)] == ["Yes: x", "No: x", "x"]
    question = Question(id="q", question="?", answers=("a", "b"), kind="part", yes=False)
    assert accepted(question) == "No: a · b"
    assert accepted(Question(id="q", question="?", answerable=False)) == "no answer"


def test_a_cell_cannot_break_its_table():
    assert markdown_table(["a", "b"], [[escaped("x|y\nz"), "1"]]) == ["| a | b |", "| --- | --- |", "| x\\|y z | 1 |"]
