"""Which passage is asked next, and for what: spread over the documents and over what questions ask for.

Decided by the seed and by what was kept so far, and by nothing else: a run that was killed asks the same again.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from rag_ft.errors import UsageError
from rag_ft.question_generation.source import WriteRequest
from rag_ft.schema import Passage
from rag_ft.text.askable import defines, gives_reasons, gives_steps, is_sentence, lists_things, settles
from rag_ft.text.openings import ASKED_FOR, AskedFor
from rag_ft.text.parts import passage_units

SHARES: Mapping[AskedFor, float] = MappingProxyType(
    {"fact": 0.4, "how": 0.2, "why": 0.1, "whether": 0.1, "what": 0.1, "list": 0.1}
)
"""Shares of what is asked for, as far as the passages give it."""

TOGETHER = 16
"""Questions that are written, and then asked, together."""

MOST_ATTEMPTS = 4
"""Questions that are asked of one passage at most."""

NO_SENTENCES = frozenset({"code", "table", "heading"})
"""Kinds of passages that are not asked about."""
_LEAST_YIELD = 0.25
"""What is seldom kept is asked for more often, up to this share; below, it would crowd out the rest."""


def what_it_gives(passage: Passage) -> frozenset[AskedFor]:
    """What a passage can be asked for; empty where it has no sentence: code, tables, headings."""
    if passage.kind in NO_SENTENCES:
        return frozenset()
    text = passage.text
    units = [unit for unit in passage_units(text, passage.headings) if is_sentence(text[unit.start : unit.end])]
    if not units:
        return frozenset()
    given = {
        "fact": True,
        "how": gives_steps(text, units),
        "why": gives_reasons(text),
        "whether": settles(text),
        "what": defines(text),
        "list": lists_things(text, units),
    }
    return frozenset(asked_for for asked_for in ASKED_FOR if given[asked_for])


def answerable_of(count: int, unanswerable: float) -> int:
    """Number of records with an answer among `count`, of which a share has none."""
    return count - round(count * unanswerable)


def checked_shares(shares: Mapping[AskedFor, float] | None) -> dict[AskedFor, float]:
    """The shares of what is asked for, adding up to 1. Raises UsageError."""
    shares = SHARES if shares is None else shares
    if unknown := [name for name in shares if name not in ASKED_FOR]:
        raise UsageError(f"asked_for names {unknown[0]!r}, which is not asked for: use {', '.join(ASKED_FOR)}")
    if not sum(shares.values()) > 0 or min(shares.values()) < 0:
        raise UsageError("asked_for holds no share above 0, or one below: give a share for each, such as {'fact': 1}")
    total = sum(shares.values())
    return {name: shares.get(name, 0.0) / total for name in ASKED_FOR}


def asked_of_a_model(passage: Passage) -> Mapping[AskedFor, int]:
    """Number of questions of each kind that a model may be asked to write about a passage."""
    return dict.fromkeys(what_it_gives(passage), MOST_ATTEMPTS)


class _Askable(NamedTuple):
    """A passage and how many questions of each kind it can be asked."""

    passage: Passage
    gives: Mapping[AskedFor, int]


class Chooser:
    """Gives requests in batches: every document in turn, each passage at most four times.

    Copies of a passage count once, at the first document that has it.
    """

    def __init__(
        self,
        passages: Iterable[Passage],
        seed: int,
        shares: Mapping[AskedFor, float],
        gives: Callable[[Passage], Mapping[AskedFor, int]] = asked_of_a_model,
    ) -> None:
        """`gives`: how many questions of each kind a passage can be asked."""
        self._seed = seed
        self._shares = shares
        self._asked: Counter[AskedFor] = Counter()
        self._kept: Counter[AskedFor] = Counter()
        self._asked_of: dict[str, list[AskedFor]] = {}
        self.passages_without_sentences = 0
        seen: set[bytes] = set()
        by_document: dict[str, list[_Askable]] = {}
        for passage in passages:
            possible = {name: number for name, number in gives(passage).items() if shares[name] > 0}
            if not possible:
                self.passages_without_sentences += 1
                continue
            text = hashlib.sha256(" ".join(passage.text.split()).encode("utf-8", "surrogatepass")).digest()
            if text not in seen:
                seen.add(text)
                by_document.setdefault(passage.document_id, []).append(_Askable(passage, possible))
        self.documents = tuple(by_document)
        self.passages = [askable.passage for queue in by_document.values() for askable in queue]
        order = sorted(by_document)
        random.Random(f"{seed} documents").shuffle(order)
        self._turns: deque[deque[_Askable]] = deque()
        for name in order:
            queue = by_document[name]
            random.Random(f"{seed} {name}").shuffle(queue)
            self._turns.append(deque(queue))

    def next_batch(self) -> list[WriteRequest]:
        """The next requests; fewer than a batch, and then none, where all passages are used up."""
        requests: list[WriteRequest] = []
        while self._turns and len(requests) < TOGETHER:
            queue = self._turns.popleft()
            askable = queue.popleft()
            passage = askable.passage
            asked = self._asked_of.setdefault(passage.id, [])
            left = frozenset(name for name, number in askable.gives.items() if asked.count(name) < number)
            asked_for = self._most_wanted(left.difference(asked) or left)
            attempt = asked.count(asked_for)
            requests.append(WriteRequest(passage, asked_for, self._request_seed(passage, len(asked)), attempt))
            asked.append(asked_for)
            self._asked[asked_for] += 1
            if len(asked) < min(MOST_ATTEMPTS, sum(askable.gives.values())):
                queue.append(askable)
            if queue:
                self._turns.append(queue)
        return requests

    def kept(self, asked_for: AskedFor) -> None:
        """Count a question that was kept."""
        self._kept[asked_for] += 1

    def _most_wanted(self, possible: frozenset[AskedFor]) -> AskedFor:
        """What has been asked for least, against its share of the requests."""
        weights = {name: self._shares[name] / self._yield(name) for name in ASKED_FOR}
        each = (self._asked.total() + 1) / sum(weights.values())
        return max(
            (name for name in ASKED_FOR if name in possible), key=lambda name: weights[name] * each - self._asked[name]
        )

    def _yield(self, asked_for: AskedFor) -> float:
        return max((self._kept[asked_for] + 1) / (self._asked[asked_for] + 2), _LEAST_YIELD)

    def _request_seed(self, passage: Passage, attempt: int) -> int:
        name = f"{self._seed} {passage.id} {attempt}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.sha256(name).digest()[:4], "big")
