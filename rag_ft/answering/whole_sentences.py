"""From a span to the whole sentences that hold it, for a reader that was tuned on spans alone.

Asked how or why, such a reader finds the right place more often than the right words: "To avoid this" of "To avoid
this you should always set a deadline." The sentence answers. One that introduces a list or code is given with that.
"""

from __future__ import annotations

from rag_ft.answering.reading import Cited
from rag_ft.text.parts import MOST_UNITS, introduces, is_item, passage_units, units_within
from rag_ft.text.spans import Span


def whole_sentences(cited: Cited, *, steps: bool = False) -> Cited | None:
    """The citation of the units of its passage that hold the span; None where the span is unknown or in no unit.

    A list is given from the item that is held on where it is introduced there, or, for `steps`, where that item is its
    first: up to `MOST_UNITS` units, from where `lists` follows it.
    """
    if cited.span is None:
        return None
    text = cited.passage.text
    units = passage_units(text, cited.passage.headings)
    held = [i for i, unit in enumerate(units) if unit.start < cited.span.end and cited.span.start < unit.end]
    if not held:
        return None
    covered = units_within(text, units, units[held[0]].start, units[held[-1]].end)
    if not covered:
        return None
    first, last = covered[0], covered[-1]
    introduced = last > first and introduces(text, units, last - 1)
    begins = steps and not (first and is_item(text, units[first - 1]))
    if is_item(text, units[last]) and (introduced or begins):
        while last + 1 < min(len(units), first + MOST_UNITS) and is_item(text, units[last + 1]):
            last += 1
    return Cited(cited.passage, Span(units[first].start, units[last].end))
