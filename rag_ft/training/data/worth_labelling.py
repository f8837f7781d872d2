"""Which questions are worth a person's time: where the reader is undecided, adapters disagree, or nobody has asked.

Lewis and Gale, 1994, "A sequential algorithm for training text classifiers", for the first (uncertainty sampling);
Seung, Opper and Sompolinsky, 1992, "Query by committee", for the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from rag_ft.metrics.answers import token_f1
from rag_ft.metrics.kinds import overlaps_evidence
from rag_ft.metrics.odds import log_odds
from rag_ft.questions.split import documents_of
from rag_ft.schema import Answer, Evidence, Passage, Question

if TYPE_CHECKING:
    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.answering.reader import Reader

_TOGETHER = 16
_NO_THRESHOLD = 0.5
"""Stands for the threshold of a reader that has none."""
_SAME_ANSWER = 0.5
"""Token F1 from which two answers say the same."""
_CERTAIN = 8.0
"""Log-odds beyond which all confidences are alike."""


class Reply(NamedTuple):
    """What one adapter makes of a question."""

    answer: str | None
    """As it would be served: null below the threshold."""
    confidence: float
    """Probability that the best answer is right, whether or not it is given."""
    threshold: float


class Asked(NamedTuple):
    """A question with what the adapters make of it, and the passage it is about."""

    question: Question
    replies: Mapping[str, Reply]
    """By adapter; the first one is the one in use."""
    passage: Passage | None
    """The cited one, else the first that was retrieved; None where none was."""

    @property
    def distance(self) -> float:
        """How far the confidence is from the threshold, in log-odds."""
        reply = next(iter(self.replies.values()))
        return round(abs(_odds(reply.confidence) - _odds(reply.threshold)), 6)

    @property
    def disagreement(self) -> float:
        """How different the most different two answers are: 0 the same, 1 nothing in common."""
        answers = [reply.answer for reply in self.replies.values()]
        pairs = [(first, second) for i, first in enumerate(answers) for second in answers[i + 1 :]]
        # An answer that is null is compared as an unanswerable question's: alike with null only.
        return max((1 - token_f1(first, () if second is None else (second,)) for first, second in pairs), default=0.0)


class Pick(NamedTuple):
    """A question worth a person's time, and why."""

    question: Question
    reasons: tuple[str, ...]


def ask_all(questions: Sequence[Question], pipeline: Pipeline, *, suggest: bool = False) -> list[Asked]:
    """Ask every question of the pipeline's reader and of its other adapters in memory.

    `suggest`: give each question the reader's best answer and its place as a label to be reviewed.
    """
    own_reader = cast("Reader", pipeline.reader)  # a remote one has no confidence to be undecided by
    readers = {name: own_reader.with_adapter(name) for name in (own_reader.adapters or ("none",))}
    asked: list[Asked] = []
    for first in range(0, len(questions), _TOGETHER):
        together = questions[first : first + _TOGETHER]
        replies: list[dict[str, Reply]] = [{} for _ in together]
        passages: list[Passage | None] = [None] * len(together)
        records = list(together)
        for name, reader in readers.items():
            answers = pipeline.ask_batch(
                [question.question for question in together],
                histories=[question.history for question in together],
                adapter=name,
                threshold=0.0,  # the best answer, also where it would not be given
            )
            for i, answer in enumerate(answers):
                replies[i][name] = _reply(answer, reader)
                if name == own_reader.adapter:
                    passages[i] = _passage(answer)
                    records[i] = suggested_record(together[i], answer) if suggest else together[i]
        asked += [Asked(*row) for row in zip(records, replies, passages, strict=True)]
    return asked


def pick_questions(asked: Iterable[Asked], labelled: Sequence[Question] | None = None, count: int = 20) -> list[Pick]:
    """The questions to label next, best first; equal arguments give equal picks.

    Turn by turn the question nearest to its threshold, the one on which adapters differ most, and one about a document
    or else a passage that none of the `labelled` records has evidence in (None: that is not asked).
    """
    rows = sorted(asked, key=lambda row: row.question.id)
    queues = [
        sorted(rows, key=lambda row: row.distance),
        sorted((row for row in rows if _differs(row)), key=lambda row: (-row.disagreement, row.distance)),
        _new_ground(rows, labelled),
    ]
    new = {row.question.id for row in queues[2]}
    picked: dict[str, Pick] = {}
    while len(picked) < count and any(queues):
        for number, queue in enumerate(queues):
            while queue and queue[0].question.id in picked:
                queue.pop(0)
            if queue and len(picked) < count:
                row = queue.pop(0)
                reasons = _reasons(row, near=number == 0, new=row.question.id in new, labelled=labelled or ())
                picked[row.question.id] = Pick(row.question, reasons)
    return list(picked.values())


def suggested_record(question: Question, answer: Answer) -> Question:
    """A question with the reader's answer as its label; without one, unanswerable from the first passage retrieved."""
    if answer.answer is None or not answer.citations:
        passage = _passage(answer)
        seen = () if passage is None else (_evidence(passage.document_id, passage.start, passage.text),)
        return question.model_copy(update={"answers": (), "answerable": False, "evidence": seen, "origin": "made"})
    cited = answer.citations[0]
    start, end = cited.answer_start, cited.answer_end
    if start is None or end is None:
        start, end = cited.start, cited.end
    evidence = _evidence(cited.document_id, start, cited.quote[start - cited.start : end - cited.start])
    label = {"answers": (evidence.quote,), "evidence": (evidence,), "answerable": True, "origin": "made"}
    return question.model_copy(update={**label, "kind": answer.kind, "yes": answer.yes})


def _evidence(document_id: str, start: int, quote: str) -> Evidence:
    return Evidence(document_id=document_id, start=start, end=start + len(quote), quote=quote)


def _reply(answer: Answer, reader: Reader) -> Reply:
    threshold = reader.threshold_of(answer.kind, answer.yes)
    threshold = _NO_THRESHOLD if threshold is None else threshold
    confidence = answer.confidence if answer.answer is not None else 1 - answer.confidence
    return Reply(answer.answer if confidence >= threshold else None, confidence, threshold)


def _passage(answer: Answer) -> Passage | None:
    cited = {citation.passage_id for citation in answer.citations}
    passages = [retrieved.passage for retrieved in answer.passages]
    return next((passage for passage in passages if passage.id in cited), passages[0] if passages else None)


def _odds(probability: float) -> float:
    return max(-_CERTAIN, min(_CERTAIN, log_odds(probability)))


def _differs(row: Asked) -> bool:
    return row.disagreement > _SAME_ANSWER


def _new_ground(rows: Sequence[Asked], labelled: Sequence[Question] | None) -> list[Asked]:
    """The surest question about each document without a label, then about each passage without one."""
    if labelled is None:
        return []
    known = documents_of(labelled)
    evidence = [piece for question in labelled for piece in question.evidence]
    by_document: dict[str, Asked] = {}
    by_passage: dict[str, Asked] = {}
    for row in sorted(rows, key=lambda row: -next(iter(row.replies.values())).confidence):
        if row.passage is None:
            continue
        if row.passage.document_id not in known:
            by_document.setdefault(row.passage.document_id, row)
        elif not overlaps_evidence(row.passage.document_id, row.passage.start, row.passage.end, evidence):
            by_passage.setdefault(row.passage.id, row)
    return [*by_document.values(), *by_passage.values()]


def _reasons(row: Asked, *, near: bool, new: bool, labelled: Sequence[Question]) -> tuple[str, ...]:
    reply = next(iter(row.replies.values()))
    reasons = []
    if near:
        side = "answered" if reply.answer is not None else "declined"
        reasons.append(f"{side} with confidence {reply.confidence:.2f}, threshold {reply.threshold:.2f}")
    if _differs(row):
        answers = "; ".join(f"{name}: {_shown(given.answer)}" for name, given in row.replies.items())
        reasons.append(f"adapters differ ({answers})")
    if new and row.passage is not None:
        document = row.passage.document_id
        place = "the document" if document not in documents_of(labelled) else "this passage of"
        reasons.append(f"no record is about {place} {document}")
    return tuple(reasons)


def _shown(answer: str | None) -> str:
    words = "no answer" if answer is None else " ".join(answer.split())
    return words if len(words) <= 60 else f"{words[:60]}…"
