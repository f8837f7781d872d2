"""Figures of a cross-encoder on questions: which passage it puts first, and what it quotes there, as `rag-ft ask` does.

A state is chosen by these and not by the loss, which falls long after they have stopped to rise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict

from rag_ft.answering.encoder_alone import best_words
from rag_ft.answering.evidence import EvidenceReader, choose_part
from rag_ft.answering.opinions import Opinions
from rag_ft.answering.reading import Reading, ReadRequest
from rag_ft.indexing.judged import at_evidence
from rag_ft.indexing.query import Query
from rag_ft.indexing.reranking import FIRST_WEIGHT, RERANK_DEPTH, rerank
from rag_ft.indexing.retriever import OWN_WEIGHT
from rag_ft.metrics.answers import token_f1
from rag_ft.metrics.odds import probability_of
from rag_ft.metrics.retrieval import Place
from rag_ft.models.cross_encoder import CrossEncoder, PassageScores
from rag_ft.schema import Hit, Passage, Question
from rag_ft.text.asking import asks_for_sentences
from rag_ft.text.spans import Span
from rag_ft.training.cross_encoder.examples import evidence_in
from rag_ft.training.scoring import spread_questions

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

MAX_ASKED = 200
"""Held-out questions asked at most."""

_READ = 3
"""Passages that the reader is given, as a retriever gives them by default."""

TAKEN_OUT_WEIGHT = 0.25
"""What an answer to a question whose evidence was taken out counts in a scale, beside 1 for any other."""

RIGHT_FROM = 0.5
"""Least share of the evidence that a right quote covers."""


class RankedQuestion(NamedTuple):
    """A question with the passages that the index finds for it, which a cross-encoder will put in order."""

    question: Question
    query: Query
    hits: tuple[Hit, ...]


class Quoted(NamedTuple):
    """What one question is answered with, nothing declined."""

    question: Question
    covered: float
    """Share of the evidence that the quote covers."""
    quote_f1: float
    """Harmonic mean of that, and of the share of the quote that is evidence."""
    own: float
    """The confidence, before any new scale."""
    taken_out: bool = False
    """Whether the passages that show the evidence were taken out of the search, so that no answer is right."""

    @property
    def weight(self) -> float:
        """What it counts in a scale."""
        return TAKEN_OUT_WEIGHT if self.taken_out else 1.0

    @property
    def right(self) -> bool:
        """Whether the right place is quoted."""
        return self.question.answerable and self.covered >= RIGHT_FROM


class Outcome(NamedTuple):
    """What a cross-encoder makes of one question."""

    question: Question
    rank: int | None
    """Rank of the first passage that shows the evidence, from 1; None where none of the passages does."""
    covered: float
    """Share of the evidence that the quote covers."""
    quote_f1: float
    """Harmonic mean of that, and of the share of the quote that is evidence."""
    own: float
    """Its own probability that the first passage answers, before any scale."""
    yes_share: float
    """Probability of yes against no."""
    words_f1: float | None = None
    """Token F1 of the few words that it marks in the first passage; None where sentences answer, or are asked for."""

    @property
    def answer_f1(self) -> float:
        """F1 of what the question is answered with: words, or the quote."""
        return self.quote_f1 if self.words_f1 is None else self.words_f1

    @property
    def worth(self) -> float:
        """What a state is chosen by: the mean of hit@1 and of the answer's F1."""
        return (float(self.rank == 1) + self.answer_f1) / 2

    @property
    def quoted(self) -> Quoted:
        """What it quotes of the first passage."""
        return Quoted(self.question, self.covered, self.quote_f1, self.own)

    @property
    def right(self) -> bool:
        """Whether the right place is quoted."""
        return self.quoted.right

    @property
    def asks_for_sentences(self) -> bool:
        """Whether `rag-ft ask` would leave the question to the cross-encoder."""
        return asks_for_sentences(self.question.question)


class CrossEncoderScore(BaseModel):
    """A cross-encoder on held-out questions, with ten retrieved passages each."""

    model_config = ConfigDict(frozen=True)

    questions: int
    """Answerable questions."""
    hit_at_1: float
    """Share whose first passage, once reranked, shows the evidence."""
    hit_at_3: float
    covered: float
    """Mean share of the evidence that the quote covers."""
    quote_f1: float
    """Mean F1 of the quote's characters against the evidence."""
    decided: int
    """Questions whose record says yes or no."""
    decided_right: int
    """Those of which the cross-encoder says the same."""
    words: int = 0
    """Questions that a few words answer; 0 where it is not used for those."""
    words_f1: float = 0.0
    """Mean token F1 of the words that it marks for them."""
    answer_f1: float
    """Mean F1 of what all questions are answered with: these words, or the quote."""

    @property
    def worth(self) -> float:
        """What a state is chosen by: the mean of hit@1 and of the answer's F1."""
        return (self.hit_at_1 + self.answer_f1) / 2

    def figures(self) -> str:
        """The figures for people to read."""
        says = f"; yes or no right in {self.decided_right} of {self.decided}" if self.decided else ""
        words = f"; words of {self.words} F1 {self.words_f1:.3f}" if self.words else ""
        return (
            f"hit@1 {self.hit_at_1:.3f}, hit@3 {self.hit_at_3:.3f}; quotes cover {self.covered:.3f} of the evidence,"
            f" F1 {self.quote_f1:.3f}{words}{says}"
        )


def rank_questions(questions: Sequence[Question], index: Index, most: int = MAX_ASKED) -> list[RankedQuestion]:
    """Questions with the passages that are reranked: at most `most`, evenly spread over each kind."""
    retriever = index.as_retriever(k=RERANK_DEPTH)
    chosen = spread_questions(questions, most)
    queries = [retriever.query(question.question, question.history) for question in chosen]
    hits_by_query = retriever.retrieve_batch(queries)
    return [
        RankedQuestion(question, query, tuple(at_evidence(hit, question, index) for hit in hits))
        for question, query, hits in zip(chosen, queries, hits_by_query, strict=True)
    ]


def without_evidence(ranked: Sequence[RankedQuestion]) -> list[RankedQuestion]:
    """The answerable questions that ask for sentences, with those of their passages that do not show the evidence.

    Held-out questions mostly have an answer. What people ask often has none, and a scale has to know of that.
    """
    return [
        one._replace(hits=tuple(hit for hit in one.hits if not Place.of(hit.passage).shows(one.question)))
        for one in ranked
        if one.question.answerable and asks_for_sentences(one.query.text)
    ]


def outcomes_of(
    cross_encoder: CrossEncoder, ranked: Sequence[RankedQuestion], *, marks_words: bool = False
) -> list[Outcome]:
    """What a cross-encoder makes of each question with passages: reranked as in a search, quoted as in an answer.

    `marks_words`: whether it is used for the few words of an answer, too, so that these are measured.
    """
    return [_outcome(cross_encoder, *reranked, marks_words) for reranked in _reranked(cross_encoder, ranked)]


def quotes_with_opinion(
    cross_encoder: CrossEncoder, opinions: Opinions, ranked: Sequence[RankedQuestion]
) -> list[Quoted]:
    """What is quoted where the generator gives its opinion, too, of the questions that ask for sentences.

    The record of `cross_encoder` weighs the opinion. Nothing is declined. Questions without a part are left out.
    """
    asked = [question for question in ranked if asks_for_sentences(question.query.text)]
    reranked = _reranked(cross_encoder, asked)
    requests = [ReadRequest.of_hits(question.question, hits[:_READ], 0.0) for question, hits in reranked]
    readings = EvidenceReader(cross_encoder, opinions).read_batch(requests)
    return [
        _quoted(question, reading)
        for (question, _), reading in zip(reranked, readings, strict=True)
        if reading is not None
    ]


def _reranked(cross_encoder: CrossEncoder, ranked: Sequence[RankedQuestion]) -> list[tuple[Question, list[Hit]]]:
    """Each question with passages, and these in the cross-encoder's order."""
    asked = [question for question in ranked if question.hits]
    hits_by_question = rerank(
        [question.query for question in asked],
        [question.hits for question in asked],
        cross_encoder,
        FIRST_WEIGHT,
        OWN_WEIGHT,
    )
    return [(ranked_question.question, hits) for ranked_question, hits in zip(asked, hits_by_question, strict=True)]


def _quoted(question: Question, reading: Reading) -> Quoted:
    (cited,) = reading.cited
    assert cited.span is not None
    return Quoted(question, *quote_figures(cited.passage, cited.span, question), reading.answer_confidence)


def _outcome(cross_encoder: CrossEncoder, question: Question, hits: Sequence[Hit], marks_words: bool) -> Outcome:
    first = hits[0].passage
    scores = cross_encoder.score(question.question, [first])[0]
    part = choose_part(first, scores)
    covered, quote_f1 = (0.0, 0.0) if part is None else quote_figures(first, part.span, question)
    shows = (i for i, hit in enumerate(hits, start=1) if Place.of(hit.passage).shows(question))
    _, yes, no = scores.says
    return Outcome(
        question,
        next(shows, None) if question.answerable else None,
        covered,
        quote_f1,
        probability_of(scores.relevance),
        yes / (yes + no) if yes + no > 0 else 0.5,
        _words_f1(question, first, scores) if marks_words else None,
    )


def _words_f1(question: Question, passage: Passage, scores: PassageScores) -> float | None:
    """The token F1 of the words that a cross-encoder marks; None where they are not what answers the question."""
    if question.kind != "span" or not question.answerable or asks_for_sentences(question.question):
        return None
    best = best_words(question.question, passage, scores)
    return 0.0 if best is None else token_f1(passage.text[best.span.start : best.span.end], question.answers)


def quote_figures(passage: Passage, quote: Span, question: Question) -> tuple[float, float]:
    """The share of the evidence that a quote of a passage covers, and its F1; of several pieces the best.

    A few words that answer count as the sentences that hold them. What of a piece lies outside the passage is missed.
    """
    if not question.answerable:
        return 0.0, 0.0
    best = (0.0, 0.0)
    for piece in question.evidence:
        alone = question.model_copy(update={"evidence": (piece,)})
        held = evidence_in(passage, alone)
        if held is None:
            continue
        shared = max(0, min(quote.end, held.end) - max(quote.start, held.start))
        whole = max(held.end - held.start, piece.end - piece.start)
        recall, precision = shared / whole, shared / max(1, quote.end - quote.start)
        best = max(best, (recall, 2 * recall * precision / (recall + precision) if shared else 0.0))
    return best


def score_outcomes(outcomes: Sequence[Outcome]) -> CrossEncoderScore:
    """The figures over the answerable questions of some outcomes, of which there must be one."""
    answerable = [outcome for outcome in outcomes if outcome.question.answerable and outcome.question.evidence]
    count = len(answerable)
    said = [outcome for outcome in answerable if outcome.question.yes is not None]
    words = [outcome.words_f1 for outcome in answerable if outcome.words_f1 is not None]
    return CrossEncoderScore(
        questions=count,
        hit_at_1=sum(outcome.rank == 1 for outcome in answerable) / count,
        hit_at_3=sum(outcome.rank is not None and outcome.rank <= 3 for outcome in answerable) / count,
        covered=sum(outcome.covered for outcome in answerable) / count,
        quote_f1=sum(outcome.quote_f1 for outcome in answerable) / count,
        decided=len(said),
        decided_right=sum((outcome.yes_share > 0.5) == outcome.question.yes for outcome in said),
        words=len(words),
        words_f1=sum(words) / max(1, len(words)),
        answer_f1=sum(outcome.answer_f1 for outcome in answerable) / count,
    )


def gain(before: Sequence[Outcome], after: Sequence[Outcome]) -> tuple[float, float]:
    """The mean difference of the worth of the same answerable questions, and its standard error."""
    pairs = zip(before, after, strict=True)
    differences = [new.worth - old.worth for old, new in pairs if old.question.answerable and old.question.evidence]
    mean = sum(differences) / len(differences)
    variance = sum((difference - mean) ** 2 for difference in differences) / max(1, len(differences) - 1)
    return mean, math.sqrt(variance / len(differences))
