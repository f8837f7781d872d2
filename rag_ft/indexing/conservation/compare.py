"""The words of a source against those of the text that was extracted from it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rag_ft.indexing.conservation.record import (
    MAX_MISSING_PARTS,
    MAX_NOTE_CHARS,
    MAX_NOTES,
    MAX_PHRASE_CHARS,
    MAX_SAMPLE_WORDS,
    Conservation,
)
from rag_ft.indexing.conservation.source import Piece, Source
from rag_ft.indexing.conservation.words import Words, chains, words_of

_MOST_JOINED = 8
"""Words that may be glued into one, at most: more are not looked for."""
_LONGEST_JOINED = 200
_MISSING_SHARE = 0.8
"""A part is missing if at least this share of the words that only it has are lost."""


class _Read(NamedTuple):
    """A piece of a source with its words."""

    piece: Piece
    words: Words


def compare(source: Source, text: str) -> Conservation:
    """Count the words of a source that a text lacks, as multisets. Linear in both but for sorting the sample."""
    pieces = [_Read(piece, words_of(piece.text)) for piece in source.pieces]
    required = [read for read in pieces if not read.piece.reason]
    text_keys = words_of(text).keys
    keys = [key for read in required for key in read.words.keys]
    # What most documents are: the same words in the same order.
    if keys == text_keys:
        lost: Counter[str] = Counter()
        have = Counter[str]()
        glued: list[str] = []
        moved = 0
    else:
        need, have = Counter(keys), Counter(text_keys)
        moved = _moved(required, need, have, text_keys)
        lost = need - have
        have -= need
        glued = _joined(required, keys, lost, have)
    total = sum(lost.values())
    missing = _missing_parts(required, lost) if total else []
    return Conservation(
        words=len(keys),
        lost=total,
        sample=_sample(required, lost, total),
        glued=len(glued),
        glued_sample=tuple(word[:MAX_PHRASE_CHARS] for word in glued[:MAX_SAMPLE_WORDS]),
        moved=moved,
        left_out=_left_out(pieces, have),
        pages_without_text=tuple(source.pages_without_text),
        missing_parts=tuple(name[:MAX_PHRASE_CHARS] for name in dict.fromkeys([*source.unreadable, *missing]))[
            :MAX_MISSING_PARTS
        ],
        notes=tuple(note[:MAX_NOTE_CHARS] for note in source.notes[:MAX_NOTES]),
    )


def _joined(required: Sequence[_Read], keys: Sequence[str], lost: Counter[str], extra: Counter[str]) -> list[str]:
    """Take words that stand joined in the text out of `lost` and `extra`; returns those that must not be joined."""
    if not lost or not extra:
        return []
    for read in required:
        for chain in chains(read.words.text):
            start = 0
            while start < len(chain) - 1:
                start += _take_joined(chain, start, lost, extra) or 1
    glued = []
    start = 0
    while start < len(keys) - 1:
        taken = 0
        if lost.get(keys[start], 0) > 0 or lost.get(keys[start + 1], 0) > 0:
            taken = _take_joined(keys, start, lost, extra)
            if taken:
                glued.append("".join(keys[start : start + taken]))
        start += taken or 1
    return glued


def _take_joined(keys: Sequence[str], start: int, lost: Counter[str], extra: Counter[str]) -> int:
    """Number of words from `start` on that stand in the text as one; these are taken out."""
    joined = keys[start]
    for end in range(start + 2, min(start + _MOST_JOINED, len(keys)) + 1):
        joined += keys[end - 1]
        if len(joined) > _LONGEST_JOINED:
            return 0
        if extra.get(joined, 0) > 0:
            extra[joined] -= 1
            for key in keys[start:end]:
                if lost.get(key, 0) > 0:
                    lost[key] -= 1
            return end - start
    return 0


def _left_out(pieces: Sequence[_Read], extra: Counter[str]) -> dict[str, int]:
    """Count the words that need not be in the text and are not, by reason."""
    by_reason: dict[str, Counter[str]] = {}
    for read in pieces:
        if read.piece.reason:
            by_reason.setdefault(read.piece.reason, Counter()).update(read.words.keys)
    counts = {reason: (counter - extra).total() for reason, counter in by_reason.items()}
    return {reason: count for reason, count in counts.items() if count}


def _missing_parts(required: Sequence[_Read], lost: Counter[str]) -> list[str]:
    """Names of the parts whose own words, which no other part has, are lost."""
    part_of: dict[str, str | None] = {}
    for read in required:
        part = read.piece.part
        for key in set(read.words.keys):
            part_of[key] = part if part_of.get(key, part) == part else None
    own: Counter[str] = Counter()
    own_lost: Counter[str] = Counter()
    for key, name in part_of.items():
        if name:
            own[name] += 1
            own_lost[name] += lost.get(key, 0) > 0
    return [name for name, count in own.items() if own_lost[name] >= _MISSING_SHARE * count]


def _sample(required: Sequence[_Read], lost: Counter[str], total: int) -> tuple[str, ...]:
    """Lost words as the source writes them, the longest runs of them first chosen, in the source's order."""
    if not total:
        return ()
    runs = sorted(_runs(required, lost), key=lambda run: run[1] - run[2])
    budget = Counter({key: count for key, count in lost.items() if count > 0})
    chosen = []
    words = 0
    for index, start, end in runs:
        # Some of a run may have been found in another run.
        keys = required[index].words.keys[start:end]
        length = next((i for i, key in enumerate(keys) if budget[key] <= 0), len(keys))
        length = min(length, MAX_SAMPLE_WORDS - words)
        if length:
            budget.subtract(keys[:length])
            chosen.append((index, start, start + length))
            words += length
        if words >= MAX_SAMPLE_WORDS:
            break
    spans: dict[int, list[tuple[int, int]]] = {}
    phrases = []
    for index, start, end in sorted(chosen):
        here = required[index].words
        if index not in spans:
            spans[index] = here.spans()
        phrase = here.text[spans[index][start][0] : spans[index][end - 1][1]]
        phrases.append(" ".join(phrase.split())[:MAX_PHRASE_CHARS])
    return tuple(dict.fromkeys(phrases))


def _runs(required: Sequence[_Read], lost: Counter[str]) -> Iterator[tuple[int, int, int]]:
    """Runs of neighbours of which some are lost: number of the piece, first word, end."""
    for index, read in enumerate(required):
        start = None
        for position, key in enumerate(read.words.keys):
            if lost.get(key, 0) > 0:
                start = position if start is None else start
            elif start is not None:
                yield index, start, position
                start = None
        if start is not None:
            yield index, start, len(read.words.keys)


def _moved(required: Sequence[_Read], need: Counter[str], have: Counter[str], text_keys: Sequence[str]) -> int:
    """Count the words that stand in another order, among those that source and text hold once."""
    position_of = {key: position for position, key in enumerate(text_keys) if have[key] == 1 and need.get(key) == 1}
    positions = [
        position_of[key] for read in required if read.piece.ordered for key in read.words.keys if key in position_of
    ]
    # The longest ascending subsequence keeps its order; the rest has moved.
    ends: list[int] = []
    for position in positions:
        if not ends or position > ends[-1]:
            ends.append(position)
        else:
            ends[bisect_left(ends, position)] = position
    return len(positions) - len(ends)
