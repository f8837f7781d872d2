import pytest

from rag_ft.text.references import points_to_its_text, unexplained_word

POINT_TO_THEIR_TEXT = """What does this section describe?
What does the author recommend?
What is listed in the above table?
Which of the following is true?
What does the passage say about rank?
According to the text, how many parameters are there?
What does the table show?
What is the main idea of the paragraph?
What is shown in the figure?
What did the narrator see?
What does the low-rank adaptation page explain?
What was described above?""".splitlines()

LEAVE_A_WORD_UNEXPLAINED = """What is it used for?
Why did they leave?
When was he born?
How long does it take?
What is its size?
Who wrote it?
Why is this important?
What is the purpose of this method?
How do these differ?
How are those trained?
Is that allowed?
What is the reason for that?
Which prize did it win?
What year did she die?
What is the latter called?
Who lives there?
How often should it run?
What makes it slow?
What happens when it fails?
How many of them are there?
Why do such models fail?
Does it support PDF?
Can they be merged?
How many of the unanswerable ones are recognised?
Is null scored in the same way?""".splitlines()

STAND_ALONE = """How does a reranker decide if it helps?
What happens when it rains?
Is it safe to delete an index?
Is it possible to merge two adapters?
Is it raining in Lima?
How long does it take to build an index?
What does it mean to overfit?
Why is it important to freeze the base?
What does `it` mean in pytest?
What is meant by "this section" in the contract?
How does the text encoder work?
What is in the table of contents?
Who is the author of Emma?
How do adapters keep their size?
How many kinds of bears are there?
What happens to documents when they are removed?
Which adapters need their base?
What are the names of those who signed the treaty?
What does Marie Curie say about her work?
Are formats such as PDF supported?
If a build fails, can it be resumed?
How does the document store keep versions?
What is the difference between a table and a list?
Which option of rag-ft.toml is used and why does it matter?
What did the former Midlothian County Buildings face?
EOS and BOS, are they the same?
Are dense and sparse search the same thing?""".splitlines()


@pytest.mark.parametrize("question", POINT_TO_THEIR_TEXT)
def test_a_question_that_speaks_of_its_text_points_to_it(question):
    assert points_to_its_text(question)


@pytest.mark.parametrize("question", LEAVE_A_WORD_UNEXPLAINED)
def test_a_pronoun_without_anything_named_before_it_is_unexplained(question):
    assert unexplained_word(question)


@pytest.mark.parametrize("question", STAND_ALONE)
def test_what_is_named_before_quoted_or_means_nothing_is_explained(question):
    assert (points_to_its_text(question), unexplained_word(question)) == ("", "")
