import pytest

from rag_ft.question_generation.fitting import NO_DIFFERENCE, NO_REASON, NO_STEPS, PERHAPS_NO, fit_problem


@pytest.mark.parametrize(
    ("question", "answer", "yes", "problem"),
    [
        ("Why is the table asymmetric?", "It is, because zero must be represented exactly.", None, None),
        ("Why is the table asymmetric?", "The table is asymmetric by one value.", None, NO_REASON),
        ("How do I measure the recall?", "Measure the recall on real queries.", None, None),
        ("How can I open the gate?", "To open the gate, turn the key twice.", None, None),
        ("How do I open the gate?", "1. Turn the key.\n2. Wait for the lamp.", None, None),
        ("How do I add a document?", "Adding a document costs one pass of the embedder.", None, NO_STEPS),
        ("How does the gate open?", "The gate slides along a rail.", None, None),
        ("Can the gate open in a storm?", "The gate does not open in a storm.", True, PERHAPS_NO),
        ("Can the gate open in a storm?", "The gate does not open in a storm.", False, None),
        ("Is the gate not open in a storm?", "The gate opens in a storm.", True, PERHAPS_NO),
        ("Is the score too high?", "A score on that set is too high.", True, None),
        ("How high is the gate?", "9 metres", None, None),
        ("What is the difference between merging and stacking?", "To merge adds, but to stack does not.", None, None),
        ("What is the difference between merging and stacking?", "We merge and stack.", None, NO_DIFFERENCE),
        ("What do I have to do to open the gate?", "The gate slides along a rail.", None, NO_STEPS),
        ("What do I have to do to open the gate?", "Turn the key twice.", None, None),
        ("What is the difference between gates and doors?", "Many gates have no lamp.", None, NO_DIFFERENCE),
        ("What is the difference between the two?", "The first is wider.", None, None),
    ],
)
def test_an_answer_is_of_the_kind_that_is_asked_for(question, answer, yes, problem):
    assert fit_problem(question, answer, yes) == problem
