import pytest

from rag_ft.schema import Passage
from rag_ft.text.answer_swap import answer_type, swap_answer


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("1987", "year"), ("131,072", "number"), ("New York", "name 2"), ("a guild of masons", "words 4")],
)
def test_types_of_answers(answer, kind):
    assert answer_type(answer) == kind


def test_every_occurrence_is_replaced_by_the_first_other_answer_of_the_type_that_is_not_in_the_passage():
    text = "Built in 1903. Since 1903 it has stood beside the mill of 1910."
    passage = Passage(id="d", document_id="d", text=text, start=10, end=10 + len(text))
    swap = swap_answer(passage, "1903", ["Ann", "1903", "1910", "1950", "1960"])
    assert swap is not None and swap.answer == "1950"
    assert swap.passage.text == "Built in 1950. Since 1950 it has stood beside the mill of 1910."
    assert swap.passage.end - swap.passage.start == len(swap.passage.text)
    assert swap_answer(passage, "1903", ["Ann", "1910"]) is None
