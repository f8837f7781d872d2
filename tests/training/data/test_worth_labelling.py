import pytest
from data import little_world

from rag_ft.schema import Answer, Passage, Question
from rag_ft.serving.http.openapi import ANSWER
from rag_ft.training.data.worth_labelling import Asked, Reply, ask_all, pick_questions, suggested_record

DOCUMENTS, QUESTIONS = little_world(4)


def passage(document="d", start=0):
    return Passage(id=f"{document}#{start}-{start + 9}", document_id=document, text="x" * 9, start=start, end=start + 9)


def asked(name, confidence, *others, about=None, threshold=0.5):
    question = Question(id=name, question=f"Question {name}?", answerable=False)
    answers = [("first" if confidence >= threshold else None), *others]
    replies = {f"adapter {i}": Reply(answer, confidence, threshold) for i, answer in enumerate(answers)}
    return Asked(question, replies, about)


def ids(picks):
    return [pick.question.id for pick in picks]


def test_the_confidence_nearest_the_threshold_comes_first():
    rows = [asked("a", 0.9), asked("b", 0.45), asked("c", 0.52), asked("d", 0.1)]
    picks = pick_questions(rows, count=3)
    assert ids(picks) == ["c", "b", "a"]
    assert picks[0].reasons == ("answered with confidence 0.52, threshold 0.50",)
    assert picks[1].reasons == ("declined with confidence 0.45, threshold 0.50",)


def test_adapters_that_disagree_take_turns_with_it():
    rows = [asked("a", 0.5, "first"), asked("b", 0.99, None), asked("c", 0.98, "the first"), asked("d", 0.97, "other")]
    picks = pick_questions(rows, count=4)
    assert ids(picks) == ["a", "d", "c", "b"]  # b and d differ wholly; d is nearer
    assert "adapters differ (adapter 0: first; adapter 1: other)" in picks[1].reasons
    assert not any("differ" in reason for pick in (picks[0], picks[2]) for reason in pick.reasons)


def test_documents_and_then_passages_without_a_record_take_turns_too():
    labelled = [QUESTIONS[0]]  # evidence in Oslo.txt, 21 to 31
    rows = [
        asked("a", 0.5, about=passage("Oslo.txt", 20)),
        asked("b", 0.9, about=passage("Oslo.txt", 60)),
        asked("c", 0.8, about=passage("Lima.txt")),
        asked("d", 0.95, about=passage("Lima.txt", 30)),
    ]
    picks = pick_questions(rows, labelled, count=4)
    assert ids(picks) == ["a", "d", "c", "b"]
    assert picks[1].reasons == ("no record is about the document Lima.txt",)
    assert "no record is about this passage of Oslo.txt" in picks[3].reasons
    assert not any("no record" in reason for pick in pick_questions(rows, count=4) for reason in pick.reasons)


def test_picks_do_not_depend_on_the_order_of_the_questions():
    rows = [asked(name, confidence, "other") for name, confidence in (("a", 0.4), ("b", 0.6), ("c", 0.4), ("d", 1.0))]
    assert pick_questions(rows, count=3) == pick_questions(rows[::-1], count=3)
    assert len(pick_questions(rows, count=50)) == 4 and pick_questions([], count=3) == []


def test_a_suggested_record_has_the_words_that_were_cited():
    answer = Answer.model_validate(ANSWER)
    record = suggested_record(Question(id="a", question="Q?", answerable=False), answer)
    cited = answer.citations[0]
    assert record.answerable and record.origin == "made"
    (piece,) = record.evidence
    assert (piece.start, piece.end) == (cited.answer_start, cited.answer_end) and piece.quote == record.answers[0]
    none = suggested_record(record, answer.model_copy(update={"answer": None, "citations": ()}))
    assert not none.answerable and none.answers == ()
    assert none.evidence[0].document_id == answer.passages[0].passage.document_id


class Adapters:
    """Readers of one base: `sure` answers, `shy` does not."""

    adapters = ("sure", "shy")
    adapter = "sure"

    def with_adapter(self, name):
        return self

    def threshold_of(self, kind, yes):
        return 0.6


class Recording:
    def __init__(self):
        self.reader = Adapters()

    def ask_batch(self, questions, *, histories, adapter, threshold):
        assert threshold == 0 and len(histories) == len(questions)
        confidence = {"sure": 0.9, "shy": 0.2}[adapter]
        return [Answer.model_validate({**ANSWER, "question": text, "confidence": confidence}) for text in questions]


@pytest.mark.parametrize("suggest", [False, True])
def test_each_adapter_is_asked_and_answers_below_the_threshold_count_as_null(suggest):
    rows = ask_all(QUESTIONS[:3], Recording(), suggest=suggest)
    assert [row.question.id for row in rows] == [question.id for question in QUESTIONS[:3]]
    assert rows[0].replies["sure"].answer == ANSWER["answer"] and rows[0].replies["shy"].answer is None
    assert rows[0].disagreement == 1 and rows[0].passage is not None
    assert (rows[0].question == QUESTIONS[0]) != suggest
