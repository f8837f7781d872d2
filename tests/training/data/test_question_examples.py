import pytest

from rag_ft.answering.prompt import PromptBuilder, TokenBudget
from rag_ft.schema import Document, Evidence, Passage, Question
from rag_ft.training.data.collator import IGNORE_INDEX, branches_of, pack
from rag_ft.training.data.question_examples import encode_with_questions, question_examples

TEXT = "The gate stands at the north quay. To open the gate, turn the key twice. Wait for the lamp."
PASSAGE = Passage(id="gate.md#0", document_id="gate.md", text=TEXT, start=0, end=len(TEXT), title="Gate")
BUDGET = TokenBudget(1024, 96)


def record(number, question, quote, **fields):
    start = TEXT.index(quote)
    evidence = (Evidence(document_id="gate.md", start=start, end=start + len(quote), quote=quote),)
    return Question(id=str(number), question=question, answers=(quote,), evidence=evidence, **fields)


RECORDS = [
    record(1, "Where does the gate stand?", "the north quay"),
    record(2, "How do I open the gate?", "To open the gate, turn the key twice. Wait for the lamp.", kind="part"),
    record(3, "Is the key turned twice?", "To open the gate, turn the key twice.", kind="part", yes=True),
]


@pytest.fixture
def prompts(tiny):
    return PromptBuilder(tiny.tokenizer, shots=False)


def test_the_question_its_end_and_the_answer_are_learned_and_the_passage_is_not(prompts):
    examples = question_examples(RECORDS, {"gate.md": [PASSAGE]})
    (row,) = pack(encode_with_questions(examples, prompts, BUDGET), 4096, 0)
    learned = {}
    for record_id, tokens, labels in branches_of(row):
        kept = [label for label in labels if label != IGNORE_INDEX]
        assert tokens[len(tokens) - len(kept) :] == kept  # one run, at the end
        assert tuple(tokens[: len(tokens) - len(kept)]) == prompts.question_opening
        learned[record_id] = prompts.tokenizer.decode(kept)
    for question in RECORDS:
        text = learned[question.id]
        assert text.startswith(" " + question.question)
        assert '{"answer":' in text.split(question.question)[1]
    assert "north quay" in learned["1"] and '"yes": true' in learned["3"] and '"yes"' not in learned["2"]
    before_branches = row.labels[: row.segments.index(2)]
    assert set(before_branches) == {IGNORE_INDEX}  # head and passage


def test_the_sequence_is_the_readers_own(prompts):
    """What a generator writes after the question is what a reader would be asked to write there."""
    examples = question_examples(RECORDS, {"gate.md": [PASSAGE]})
    encoded = encode_with_questions(examples, prompts, BUDGET)
    (group,) = encoded.groups
    for question, branch in zip(RECORDS, group.branches, strict=True):
        prompt = prompts.build(question.question, [PASSAGE], BUDGET)
        ids = (*encoded.head, *group.context, *branch.question, *branch.completion)
        assert ids[: len(prompt.ids)] == prompt.ids


def test_what_no_passage_holds_and_what_has_no_answer_is_left_out():
    unanswerable = Question(id="u", question="Who?", answerable=False, evidence=RECORDS[0].evidence)
    elsewhere = RECORDS[0].model_copy(update={"id": "e"})
    document = Document(id="gate.md", text=TEXT)
    half = Passage(id="h", document_id=document.id, text=TEXT[40:], start=40, end=len(TEXT))
    assert question_examples([unanswerable], {"gate.md": [PASSAGE]}) == ()
    assert question_examples([elsewhere], {"gate.md": [half]}) == ()
    assert question_examples([elsewhere], {}) == ()
