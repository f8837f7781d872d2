"""Question records and an index in, questions beside passages out: one passage that answers, and others that do not.

The others are the best that the index itself finds for the question and that hold none of its evidence: what the
cross-encoder will have to put in order.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rag_ft.errors import DatasetError
from rag_ft.models.cross_encoder import shown_start
from rag_ft.questions.split import documents_of
from rag_ft.schema import Evidence, Passage, Question
from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import Span
from rag_ft.training.cross_encoder.config import CrossEncoderConfig

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index


class PairExample(NamedTuple):
    """A question with the passages that it is read with."""

    question: str
    passages: tuple[Passage, ...]
    """The one that holds the evidence first, if there is one."""
    evidence: Span | None
    """Where the evidence stands in the first passage as it is shown; None: no passage answers."""
    yes: bool | None = None
    """What the evidence says to a question of yes or no."""
    words: Span | None = None
    """Where the few words that answer stand in the first passage as it is shown; None: whole sentences do."""


class PairSource(NamedTuple):
    """What the examples of one question are drawn from."""

    question: Question
    text: str
    """The question as it is searched, with the earlier questions that it follows up."""
    gold: Passage | None
    """The passage that holds most of the evidence; None for an unanswerable question."""
    evidence: Span | None
    """Where the evidence stands in that passage's own text."""
    others: tuple[Passage, ...]
    """Passages that do not answer, best first."""
    words: Span | None = None
    """Where the few words that answer stand in that passage's own text; None: whole sentences do."""
    shown: int | None = None
    """How many passages it is shown with; None: as many as the config says."""
    near: Passage | None = None
    """Of an unanswerable question, the passage that it was written about, if the index finds it: always shown."""


@dataclass(frozen=True)
class PairSources:
    """One side of the split, and the records of it that cannot be used."""

    sources: tuple[PairSource, ...]
    documents: frozenset[str]
    """Documents that the questions are about."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Record id → why it cannot be used."""


def pair_sources(
    questions: Sequence[Question], index: Index, config: CrossEncoderConfig, *, apart: Collection[str] = ()
) -> PairSources:
    """What the examples of one side of the split are drawn from, in the order of the questions.

    `apart`: documents of the other side, whose passages are not used here. Raises DatasetError with the first reason
    where no answerable question can be used.
    """
    retriever = index.as_retriever(k=3 * config.negatives_among)
    queries = [retriever.query(question.question, question.history) for question in questions]
    known = set(index.documents())
    fillers = _Fillers(index, apart, config)
    sources: list[PairSource] = []
    dropped: dict[str, str] = {}
    for question, query, hits in zip(questions, queries, retriever.retrieve_batch(queries), strict=True):
        gold, reason = _gold(question, index, known) if question.answerable else (None, "")
        if reason:
            dropped[question.id] = reason
            continue
        ranked = [hit.passage for hit in hits if hit.passage.document_id not in apart]
        near = None if question.answerable else next((one for one in ranked if overlap(one, question) > 0), None)
        others = [passage for passage in ranked if _is_negative(passage, question, gold or near)]
        others = fillers.filled(others[: config.negatives_among], question, gold or near)
        evidence = None if gold is None else evidence_in(gold, question)
        if gold is not None or near is not None or others:
            words = None if gold is None else words_in(gold, question)
            text = query.joined or query.text
            sources.append(PairSource(question, text, gold, evidence, tuple(others), words, near=near))
    if not any(source.gold is not None for source in sources):
        record, why = next(iter(dropped.items()), ("", "no record is answerable"))
        raise DatasetError(
            f"no question record shows a cross-encoder what answers (record {record}: {why}): run 'rag-ft data check'"
        )
    return PairSources(tuple(sources), documents_of([source.question for source in sources]), dropped)


def draw_example(source: PairSource, config: CrossEncoderConfig, chooser: random.Random) -> PairExample:
    """One example of a question; its passages are drawn again each time."""
    alone = not source.others or source.shown == 1
    shown = source.gold is not None and (alone or chooser.random() >= config.without_evidence)
    passages = config.passages if source.shown is None else source.shown
    first = () if source.near is None else (source.near,)
    others = chooser.sample(source.others, min(passages - int(shown) - len(first), len(source.others)))
    if not shown or source.gold is None or source.evidence is None:
        return PairExample(source.text, (*first, *others), None)
    shift = shown_start(source.gold)
    evidence, words = (
        None if span is None else Span(span.start + shift, span.end + shift) for span in (source.evidence, source.words)
    )
    return PairExample(source.text, (source.gold, *others), evidence, source.question.yes, words)


def overlap(passage: Passage, question: Question) -> int:
    """Characters of a question's evidence that a passage holds, of the piece that it holds most of; 0 or less: none."""
    return max((_shared(passage, piece) for piece in question.evidence), default=0)


def _is_negative(passage: Passage, question: Question, first: Passage | None) -> bool:
    """Whether a passage may stand as one that does not answer, beside the one that an example starts with.

    So may neither a copy of that one nor a passage with evidence of an answerable question.
    """
    copied = first is not None and passage.text == first.text
    return not copied and not (question.answerable and overlap(passage, question) > 0)


def evidence_in(passage: Passage, question: Question) -> Span | None:
    """Where a passage's text holds a question's evidence: of several pieces, the one that it holds most of.

    Of a few words that answer, the whole sentences. None where it holds none.
    """
    piece = _best_piece(passage, question)
    if piece is None:
        return None
    start, end = max(piece.start - passage.start, 0), min(piece.end - passage.start, len(passage.text))
    if question.kind == "span":
        held = [span for span in sentence_spans(passage.text) if span.start < end and start < span.end]
        start, end = (held[0].start, held[-1].end) if held else (start, end)
    return Span(start, end)


def words_in(passage: Passage, question: Question) -> Span | None:
    """Where a passage's text holds the few words that answer a question; None where it lacks some, or for parts."""
    piece = _best_piece(passage, question)
    if question.kind != "span" or piece is None or _shared(passage, piece) < piece.end - piece.start:
        return None
    return Span(piece.start - passage.start, piece.end - passage.start)


def _best_piece(passage: Passage, question: Question) -> Evidence | None:
    """Of a question's evidence the piece that a passage holds most of; None where it holds none."""
    piece = max(question.evidence, key=lambda piece: _shared(passage, piece), default=None)
    return piece if piece is not None and _shared(passage, piece) > 0 else None


def _shared(passage: Passage, piece: Evidence) -> int:
    if piece.document_id != passage.document_id:
        return 0
    return min(passage.end, piece.end) - max(passage.start, piece.start)


def _gold(question: Question, index: Index, known: Collection[str]) -> tuple[Passage | None, str]:
    """The passage that holds most of the evidence, or None and why there is none."""
    if not question.evidence:
        return None, "answerable, but without evidence"
    pieces = [piece for piece in question.evidence if piece.document_id in known]
    if not pieces:
        return None, "the index lacks the document of its evidence"
    for piece in pieces:
        if index.document(piece.document_id).text[piece.start : piece.end] != piece.quote:
            return None, "its evidence does not stand at its offsets"
    piece = pieces[0]
    gold = max(index.passages_of(piece.document_id), key=lambda passage: overlap(passage, question), default=None)
    if gold is None or overlap(gold, question) <= 0:
        return None, "no passage of the index holds its evidence"
    return gold, ""


class _Fillers:
    """Passages for questions to which an index finds too few that do not answer."""

    def __init__(self, index: Index, apart: Collection[str], config: CrossEncoderConfig) -> None:
        rows = random.Random(f"{config.seed} fillers").sample(range(len(index)), min(len(index), 20 * config.passages))
        passages = (index.passage(row) for row in rows)
        self._passages = [passage for passage in passages if passage.document_id not in apart]
        self._needed = config.passages

    def filled(self, others: Sequence[Passage], question: Question, first: Passage | None) -> list[Passage]:
        """The passages, and as many more as an example needs beside the one that it starts with."""
        filled = list(others)
        ids = {passage.id for passage in filled}
        for passage in self._passages:
            if len(filled) >= self._needed:
                break
            if passage.id not in ids and _is_negative(passage, question, first):
                filled.append(passage)
        return filled
