"""Unanswerable question records made out of answerable ones, without a language model.

One thing in a question is exchanged: a name, a number, a word for its opposite, or what it asks for. The changed
question is searched for in the whole index, by vectors and by words; where a passage still seems to answer it, because
what is new in it stands beside its other words, no record is made.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from rag_ft.questions.wording import LITTLE_WORDS, question_key
from rag_ft.schema import Hit, Passage, Question
from rag_ft.text.names import name_spans
from rag_ft.text.question_swap import (
    QuestionSwap,
    SwapKind,
    near_misses,
    number_swaps,
    opposite_swaps,
    stemmed,
    swapped,
)
from rag_ft.text.sentences import sentence_spans
from rag_ft.training.data.name_book import NameBook

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

KINDS: tuple[SwapKind, ...] = ("name", "number", "opposite", "near miss")
_TAGS: dict[SwapKind, str] = {
    "name": "swapped name",
    "number": "swapped number",
    "opposite": "opposite",
    "near miss": "near miss",
}

_TOGETHER = 32
"""Records whose changed questions are searched for together."""
_NAMES_TRIED = 4
"""Names tried in the place of another."""
_NEAR = 0.3
"""Share of a question's other words, by weight, that must stand in two sentences beside what is new in it."""
_NEAR_A_FORM = 0.5
"""The share where what is new is only a form, such as any month."""
_IN_PASSAGE = 0.6
"""The share that must stand in the same passage."""
_FEWEST_WORDS = 2
"""Other words that a question must have: a name alone says nothing about what is asked."""
_ASKING = LITTLE_WORDS | frozenset("and or by for with from as it its whom whose many much done name".split())
"""Words of a question that need not stand beside its answer."""
_OTHERS_ASKED = re.compile(r"\b(?:in addition to|besides|other than|apart from|aside from|except)\b", re.IGNORECASE)
"""What is named there is not asked for, so that a change of it leaves the answer right."""
_WORD = re.compile(r"\w+(?:[-'’]\w+)*")
_YES_OR_NO = re.compile(
    r"(?:is|are|was|were|do|does|did|can|could|should|will|would|may|must|has|have|had)\b", re.IGNORECASE
)


class UnanswerableConfig(BaseModel):
    """How many unanswerable records to make, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    most: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of records; None: one for every three answerable ones."""
    k: Annotated[int, Field(ge=1, le=100)] = 10
    """Passages of each of the two rankings that are looked at."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class MadeUnanswerable(NamedTuple):
    """Unanswerable records, and why other changed questions gave none."""

    records: tuple[Question, ...]
    """In the order of the records that they were made from."""
    left_out: Counter[str]
    """Reason → number of changed questions, or of records, without one."""

    def lines(self) -> list[str]:
        """The counts for people to read."""
        kinds = Counter(record.tags[0] for record in self.records)
        made = ", ".join(f"{kinds[tag]:,} {tag}" for tag in _TAGS.values() if kinds[tag])
        lines = [f"made      {len(self.records):,} records" + (f": {made}" if made else "")]
        return lines + [f"left out  {count:,} {reason}" for reason, count in self.left_out.most_common()]


def make_unanswerable(
    questions: Sequence[Question], index: Index, config: UnanswerableConfig | None = None
) -> MadeUnanswerable:
    """Unanswerable records made from the answerable ones, at most one from each; equal arguments give equal records.

    Each has the evidence of its source, so that a split by document keeps both on one side, the origin "made", the
    source's id in `made_from`, and what was exchanged as its tag.
    """
    config = config or UnanswerableConfig()
    answerable = [question for question in questions if question.answerable]
    most = config.most if config.most is not None else max(1, len(answerable) // 3)
    order = list(answerable)
    random.Random(config.seed).shuffle(order)
    maker = _Maker(questions, index, config)
    made: dict[str, Question] = {}
    for first in range(0, len(order), _TOGETHER):
        if len(made) >= most:
            break
        for source, record in maker.records(order[first : first + _TOGETHER]):
            if len(made) < most:
                made[source.id] = record
    return MadeUnanswerable(tuple(made[question.id] for question in answerable if question.id in made), maker.left_out)


class _Maker:
    def __init__(self, questions: Sequence[Question], index: Index, config: UnanswerableConfig) -> None:
        self._config = config
        self._known = {question_key(question.question, question.history) for question in questions}
        self._ids = {question.id for question in questions}
        self._names = NameBook(index.passages(), index.embedder)
        self._support = _Support(index)
        self._retrievers = [index.as_retriever(config.k, mode) for mode in ("dense", "bm25")]
        self._made: Counter[SwapKind] = Counter()
        self.left_out: Counter[str] = Counter()

    def records(self, sources: Sequence[Question]) -> Iterator[tuple[Question, Question]]:
        """Each source of which a record could be made, with the record."""
        swaps = [self._swaps(source) for source in sources]
        queries = [swap.question for of_source in swaps for swap in of_source]
        if not queries:
            return
        rankings = [retriever.retrieve_batch(queries) for retriever in self._retrievers]
        hits_by_query: Iterator[tuple[list[Hit], ...]] = iter(zip(*rankings, strict=True))
        for source, of_source in zip(sources, swaps, strict=True):
            # Each query's hits are taken, whether or not they are needed.
            pairs = [(swap, [hit.passage for hits in next(hits_by_query) for hit in hits]) for swap in of_source]
            fitting = [swap for swap, passages in pairs if self._holds(swap, source, passages)]
            if not fitting:
                continue
            # The rarest kind so far: names could be exchanged in most questions, and would be nearly all.
            swap = min(fitting, key=lambda swap: (self._made[swap.kind], KINDS.index(swap.kind)))
            self._made[swap.kind] += 1
            record = self._record(source, swap)
            self._known.add(question_key(record.question, record.history))
            yield source, record

    def _swaps(self, source: Question) -> list[QuestionSwap]:
        if source.yes is not None or _YES_OR_NO.match(source.question):
            self.left_out["records ask for yes or no, which a change only turns round"] += 1
            return []
        if _OTHERS_ASKED.search(source.question):
            self.left_out["records ask for others than those that they name"] += 1
            return []
        chooser = random.Random(f"{self._config.seed} {source.id}")
        missing = list(near_misses(source.question))
        chooser.shuffle(missing)
        swaps = [
            *self._name_swaps(source, chooser),
            *number_swaps(source.question, chooser),
            *opposite_swaps(source.question),
            *missing,
        ]
        if not swaps:
            self.left_out["records have nothing that could be exchanged"] += 1
        return swaps

    def _name_swaps(self, source: Question, chooser: random.Random) -> Iterator[QuestionSwap]:
        answers = " ".join(source.answers).casefold()
        for start, end in name_spans(source.question):
            likely = self._names.like(source.question[start:end], _NAMES_TRIED)
            chooser.shuffle(likely)
            for name in likely:
                if name.casefold() in answers or name in source.question:
                    continue
                answered_by = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
                yield swapped(source.question, start, end, name, "name", answered_by)

    def _holds(self, swap: QuestionSwap, source: Question, passages: Sequence[Passage]) -> bool:
        """Whether nothing speaks against a changed question; counts what does."""
        reason = ""
        if question_key(swap.question, source.history) in self._known:
            reason = "changed questions repeat another one"
        else:
            others = self._support.other_words(swap, source.history)
            if len(others) < _FEWEST_WORDS:
                reason = "changed questions have too few other words to be checked by"
            elif any(self._support.answers(passage, swap, others) for passage in passages):
                reason = f"changed questions may still be answered ({_TAGS[swap.kind]})"
        if reason:
            self.left_out[reason] += 1
        return not reason

    def _record(self, source: Question, swap: QuestionSwap) -> Question:
        name = f"{source.id}-{_TAGS[swap.kind].replace(' ', '-')}"
        while name in self._ids:
            name += "-made"
        self._ids.add(name)
        return Question(
            id=name,
            question=swap.question,
            history=source.history,
            evidence=source.evidence,
            answerable=False,
            kind=source.kind,
            tags=(_TAGS[swap.kind],),
            origin="made",
            made_from=source.id,
        )


class _Support:
    """How much of a question stands in a passage, each word weighed by how rare it is in the index."""

    def __init__(self, index: Index) -> None:
        counts: Counter[str] = Counter()
        total = 0
        for passage in index.passages():
            total += 1
            counts.update(_stems(passage.text))
        self._weights = {word: math.log(1 + total / count) for word, count in counts.items()}

    def other_words(self, swap: QuestionSwap, history: Sequence[str]) -> set[str]:
        """The words of a changed question, but for those that ask, are new in it, or stand nowhere in the index."""
        text = " ".join((*history, swap.question))
        words = _stems(text) - _stems(swap.new) - _stems(" ".join(_ASKING))
        return words & self._weights.keys()

    def answers(self, passage: Passage, swap: QuestionSwap, others: set[str]) -> bool:
        """Whether what is new in a changed question stands in a passage beside enough of its other words."""
        if not swap.answered_by.search(passage.text):
            return False
        above = _stems(" ".join((passage.title, *passage.headings)))
        a_form = swap.kind == "near miss"
        if not a_form and self._share(_stems(passage.text) | above, others) >= _IN_PASSAGE:
            return True
        sentences = [passage.text[start:end] for start, end in sentence_spans(passage.text)]
        for i in range(len(sentences)):
            window = " ".join(sentences[i : i + 2])
            share = self._share(_stems(window) | above, others)
            if share >= (_NEAR_A_FORM if a_form else _NEAR) and swap.answered_by.search(window):
                return True
        return False

    def _share(self, words: set[str], others: set[str]) -> float:
        # fsum does not depend on the order of a set, which differs from process to process.
        total = math.fsum(self._weights[word] for word in others)
        return math.fsum(self._weights[word] for word in others & words) / total


def _stems(text: str) -> set[str]:
    return {stemmed(word) for word in _WORD.findall(text)}
