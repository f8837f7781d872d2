import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cross_encoder import passage_scores

from rag_ft.answering.opinions import Opinion
from rag_ft.indexing.query import Query
from rag_ft.metrics.odds import probability_of
from rag_ft.schema import Evidence, Hit, Passage, Question
from rag_ft.text.spans import Span
from rag_ft.training.cross_encoder.scoring import (
    Outcome,
    RankedQuestion,
    gain,
    outcomes_of,
    quote_figures,
    quotes_with_opinion,
    rank_questions,
    score_outcomes,
    without_evidence,
)

TEXT = "Tea is at four. The crane lifts 42 tonnes. It is inspected in May."


def passage(text=TEXT, name="d"):
    return Passage(id=name, document_id=name, text=text, start=0, end=len(text))


def question(words, kind="part", **fields):
    start = TEXT.index(words)
    evidence = (Evidence(document_id="d", start=start, end=start + len(words), quote=words),)
    return Question(id=words, question="Why?", answers=(words,), evidence=evidence, kind=kind, **fields)


CRANE = question("The crane lifts 42 tonnes.")
NULL = Question(id="null", question="Why not?", answerable=False)


class CrossEncoderThatKnows:
    """Stands for a cross-encoder: likes the passages of some documents, and the words with a mark."""

    def __init__(self, likes, evidence):
        self.likes, self.evidence = likes, evidence

    def relevance_batch(self, pairs):
        return [9.0 if passage.document_id == self.likes else -9.0 for _, passage in pairs]

    def score(self, question, passages):
        return [
            passage_scores(
                1.0 if read.document_id == self.likes else -1.0,
                evidence_scores(read.text, self.evidence),
                tuple(Span(i, i + 1) for i in range(len(read.text))),
                (0.5, 0.4, 0.1),
            )
            for read in passages
        ]


def evidence_scores(text, evidence):
    start = text.find(evidence)
    return np.array([3.0 if start <= i < start + len(evidence) else -3.0 for i in range(len(text))], dtype=np.float32)


def hits(*names):
    return tuple(
        Hit(passage=passage(TEXT if name == "d" else f"{name} is not it.", name), score=1.0, rank=i)
        for i, name in enumerate(names, start=1)
    )


def test_passages_are_reranked_and_the_first_one_is_quoted():
    ranked = [RankedQuestion(CRANE, Query("Why?"), hits("a", "b", "d"))]
    (right,) = outcomes_of(CrossEncoderThatKnows("d", "The crane lifts 42 tonnes."), ranked)
    assert (right.rank, right.covered, right.quote_f1, right.right, right.worth) == (1, 1, 1, True, 1)
    assert right.own == pytest.approx(0.731, abs=1e-3) and right.yes_share == pytest.approx(0.8)
    (elsewhere,) = outcomes_of(CrossEncoderThatKnows("d", "Tea is at four."), ranked)
    assert (elsewhere.rank, elsewhere.covered, elsewhere.right, elsewhere.worth) == (1, 0, False, 0.5)
    (wrong,) = outcomes_of(CrossEncoderThatKnows("a", "The crane"), ranked)
    assert (wrong.rank, wrong.covered, wrong.worth) == (3, 0, 0)
    (absent,) = outcomes_of(CrossEncoderThatKnows("a", "The crane"), [ranked[0]._replace(hits=hits("a", "b"))])
    assert absent.rank is None
    assert outcomes_of(CrossEncoderThatKnows("a", "The crane"), [ranked[0]._replace(hits=())]) == []


class OpinionsThatPrefer:
    """Stands for a generator: certain of the parts with some words, and of no others."""

    def __init__(self, words):
        self.words = words

    def of(self, requests):
        return [
            Opinion(tuple(9.0 if self.words in read.text else -9.0 for read in asked.passages)) for asked in requests
        ]


def test_with_the_generators_opinion_the_part_that_it_prefers_is_quoted_and_nothing_is_declined():
    ranked = [
        RankedQuestion(CRANE, Query("Why?"), hits("a", "d")),
        RankedQuestion(NULL, Query("Why not?"), hits("a")),
        RankedQuestion(question("42"), Query("How many tonnes?"), hits("d")),  # left to the reader
        RankedQuestion(CRANE, Query("Why?"), ()),
    ]
    scorer = CrossEncoderThatKnows("a", "The crane lifts 42 tonnes.")
    scorer.record = {
        "confidence": {"value": 0.9},
        "with_generator": {"weight": 2.0, "confidence": {"value": 0.9, "weights": {"relevance": 1, "generator": 0.5}}},
    }
    right, null = quotes_with_opinion(scorer, OpinionsThatPrefer("42"), ranked)
    assert (right.question, right.covered, right.quote_f1, right.right) == (CRANE, 1, 1, True)
    assert right.own == pytest.approx(probability_of(-1.0 + 0.5 * 9.0))
    assert (null.question, null.right) == (NULL, False) and null.own == pytest.approx(probability_of(1.0 - 0.5 * 9.0))


def test_without_their_evidence_only_what_has_evidence_is_asked_again():
    ranked = [
        RankedQuestion(CRANE, Query("Why?"), hits("a", "d", "b")),
        RankedQuestion(NULL, Query("Why not?"), hits("d")),
        RankedQuestion(question("42"), Query("How many tonnes?"), hits("d")),
    ]
    (bare,) = without_evidence(ranked)
    assert bare.question is CRANE and [hit.passage.document_id for hit in bare.hits] == ["a", "b"]
    (wrong,) = outcomes_of(CrossEncoderThatKnows("a", "The crane"), [bare])
    assert wrong.rank is None and not wrong.right


def test_an_unanswerable_question_has_no_rank_and_counts_in_no_figure():
    (null,) = outcomes_of(CrossEncoderThatKnows("d", "Tea"), [RankedQuestion(NULL, Query("Why not?"), hits("d"))])
    assert null.rank is None and not null.right and null.asks_for_sentences
    (right,) = outcomes_of(CrossEncoderThatKnows("d", "The crane"), [RankedQuestion(CRANE, Query("Why?"), hits("d"))])
    score = score_outcomes([right, null])
    assert score == score_outcomes([right]) and score.questions == 1
    assert score.figures() == "hit@1 1.000, hit@3 1.000; quotes cover 1.000 of the evidence, F1 1.000"


@pytest.mark.parametrize(
    ("quote", "asked", "figures"),
    [
        ("The crane lifts 42 tonnes.", CRANE, (1, 1)),
        ("The crane lifts 42 tonnes.", question("42", "span"), (1, 1)),  # the sentence that holds the words
        ("The crane lifts 42 tonnes. It is inspected in May.", CRANE, (1, 2 * 26 / (26 + 50))),
        ("The crane", CRANE, (9 / 26, 2 * 9 / (9 + 26))),
        ("Tea is at four.", CRANE, (0, 0)),
        ("Tea is at four.", NULL, (0, 0)),
    ],
)
def test_a_quote_is_measured_against_the_evidence(quote, asked, figures):
    start = TEXT.index(quote)
    assert quote_figures(passage(), Span(start, start + len(quote)), asked) == pytest.approx(figures)


def test_what_of_the_evidence_lies_outside_the_passage_is_missed():
    cut = Passage(id="d", document_id="d", text=TEXT[:25], start=0, end=25)
    covered, _ = quote_figures(cut, Span(16, 25), CRANE)
    assert covered == pytest.approx(9 / 26)


@given(start=st.integers(0, len(TEXT) - 1), data=st.data())
def test_figures_are_shares(start, data):
    quote = Span(start, data.draw(st.integers(start + 1, len(TEXT))))
    covered, f1 = quote_figures(passage(), quote, CRANE)
    assert 0 <= covered <= 1 and 0 <= f1 <= 1 and (covered == 0) == (f1 == 0)


def outcome(rank, f1, asked=CRANE, own=0.5, yes_share=0.5):
    return Outcome(asked, rank, f1, f1, own, yes_share)


class CrossEncoderThatMarks(CrossEncoderThatKnows):
    """Marks the words with a mark as an answer in a few words, too."""

    def score(self, question, passages):
        def marked(scores, text):
            first = text.find(self.evidence)
            starts, ends = np.full(len(text), -9.0), np.full(len(text), -9.0)
            if first >= 0:
                starts[first] = ends[first + len(self.evidence) - 1] = 2.0
            return scores._replace(starts=starts, ends=ends)

        return [
            marked(scores, read.text) for scores, read in zip(super().score(question, passages), passages, strict=True)
        ]


def test_the_words_that_it_marks_are_measured_where_a_few_words_answer():
    asked = question("42 tonnes", "span").model_copy(update={"question": "How much does the crane lift?"})
    ranked = [RankedQuestion(asked, Query(asked.question), hits("d")), RankedQuestion(CRANE, Query("Why?"), hits("d"))]
    encoder = CrossEncoderThatMarks("d", "lifts 42 tonnes")
    words, sentences = outcomes_of(encoder, ranked, marks_words=True)
    assert words.words_f1 == pytest.approx(0.8) and words.worth == pytest.approx(0.9)
    assert sentences.words_f1 is None and sentences.worth == (1 + sentences.quote_f1) / 2
    score = score_outcomes([words, sentences])
    assert (score.words, score.words_f1) == (1, pytest.approx(0.8))
    assert score.worth == pytest.approx((words.worth + sentences.worth) / 2)
    assert "; words of 1 F1 0.800" in score.figures()
    assert [outcome.words_f1 for outcome in outcomes_of(encoder, ranked)] == [None, None]


def test_of_an_unanswerable_question_no_words_are_measured():
    asked = Question(id="null", question="How much does the whale lift?", answerable=False)
    (null,) = outcomes_of(
        CrossEncoderThatMarks("d", "42"), [RankedQuestion(asked, Query("?"), hits("d"))], marks_words=True
    )
    assert null.words_f1 is None


def test_a_gain_is_paired_and_has_a_standard_error():
    before = [outcome(2, 0.0), outcome(1, 0.5), outcome(None, 0.0, NULL)]
    assert gain(before, before) == (0, 0)
    mean, error = gain(before, [outcome(1, 0.0), outcome(1, 0.5), outcome(1, 1.0, NULL)])
    assert (mean, error) == (0.25, pytest.approx(0.25))


def test_decisions_are_counted_where_the_record_says_yes_or_no():
    said = [question("Tea is at four.", yes=yes) for yes in (True, True, False)]
    score = score_outcomes([outcome(1, 1, asked, yes_share=0.9) for asked in said] + [outcome(1, 1)])
    assert (score.decided, score.decided_right) == (3, 2)
    assert score.figures().endswith("yes or no right in 2 of 3")


def test_questions_are_searched_as_a_reranker_gets_them(world):
    index, questions = world
    ranked = rank_questions(questions, index, most=9)
    assert 9 >= len(ranked) > 3 and all(len(asked.hits) == 8 for asked in ranked)
    assert {asked.question.answerable for asked in ranked} == {True, False}
