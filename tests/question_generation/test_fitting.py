import pytest

from rag_ft.question_generation.fitting import (
    COUNTS_ELSE,
    NO_DIFFERENCE,
    NO_REASON,
    NO_STEPS,
    PART_OF_A_WORD,
    PERHAPS_NO,
    Surroundings,
    fit_problem,
)
from rag_ft.text.spans import Span


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


@pytest.mark.parametrize(
    ("question", "sentence", "answer", "problem"),
    [
        ("How many layers are adapted?", "All 30 layers are adapted.", "30", None),
        ("How many layers are adapted?", "We adapt nine of its layers.", "nine", None),
        ("How many hidden layers does it have?", "It has 30 layers.", "30 layers", None),
        ("How many gates of the harbour are closed?", "Three large gates are closed.", "Three", None),
        ("How many things are needed?", "You need 12.", "12", None),
        ("How many bytes does an adapter take?", "An adapter takes 640 MB.", "640", COUNTS_ELSE),
        ("How many questions did it answer?", "It reached an F1 of 51 on the held-out questions.", "51", COUNTS_ELSE),
        ("How many layers are left?", "There are 30. The layers are thin.", "30", COUNTS_ELSE),
        ("How many layers are adapted?", "The layers of the block are adapted.", "The layers", COUNTS_ELSE),
        ("How many layers are there?", "MiniLM-L6-v2 is small.", "6", PART_OF_A_WORD),
        ("What is the letter?", "An adapter is small.", "d", PART_OF_A_WORD),
        ("What is the letter?", "An adapter is small.", "A", PART_OF_A_WORD),
        ("How much does it cost?", "It costs 5 euros.", "5", None),
        ("Which option is it?", "Give N-5 there.", "-5", None),
    ],
)
def test_a_number_is_whole_and_counts_what_is_asked_for(question, sentence, answer, problem):
    start = sentence.index(answer)
    around = Surroundings.of(sentence, Span(start, start + len(answer)))
    assert fit_problem(question, answer, None, around) == problem
