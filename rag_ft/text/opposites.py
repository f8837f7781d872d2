"""Pairs of words of which each denies the other: the opposite of a word turns a true statement into a false one."""

from __future__ import annotations


def _both_ways(pairs: str) -> dict[str, str]:
    return {word: other for pair in pairs.split(",") for word, other in (pair.split(), reversed(pair.split()))}


SOFTWARE_OPPOSITES = _both_ways(
    "enabled disabled, always never, before after, required optional, faster slower, higher lower, more less,"
    " first last, public private, local remote, minimum maximum, larger smaller, possible impossible, safe unsafe,"
    " allowed forbidden, same different, automatically manually, synchronous asynchronous, included excluded,"
    " supported unsupported, available unavailable, increases reduces, increase decrease, free paid, open closed,"
    " mutable immutable, valid invalid, single multiple, stable unstable, old new, latest oldest, with without,"
    " true false, top bottom, static dynamic, recommended discouraged, client server, input output, start end,"
    " easy hard, small large"
)
"""Opposites in documentation of software."""

_GENERAL = _both_ways(
    "highest lowest, largest smallest, longest shortest, oldest youngest, earliest latest, strongest weakest,"
    " fastest slowest, richest poorest, older younger, longer shorter, earlier later, better worse, northern southern,"
    " eastern western, north south, east west, inner outer, internal external, positive negative, male female,"
    " men women, begin end, began ended, started stopped, increased decreased, accept reject, accepted rejected,"
    " support oppose, supported opposed, opened closed, built destroyed, founded dissolved, created abolished,"
    " joined left, praised criticized, mother father, brother sister, son daughter, husband wife, king queen,"
    " advantage disadvantage, advantages disadvantages, success failure, entered left"
)

OPPOSITES = SOFTWARE_OPPOSITES | _GENERAL
"""All of them; where a word is in both lists, by the general one."""
