"""From a span to the whole sentences that hold it, for a reader that was tuned on spans alone.

Asked how or why, such a reader finds the right place more often than the right words: "To avoid this" of "To avoid
this you should always set a deadline." The sentence answers. One that introduces a list or code is given with that.
"""

from __future__ import annotations

from rag_ft.answering.reading import Cited
from rag_ft.text.parts import passage_units, units_within
from rag_ft.text.spans import Span


def whole_sentences(cited: Cited) -> Cited | None:
    """The citation of the units of its passage that hold the span; None where the span is unknown or in no unit."""
    if cited.span is None:
        return None
    text = cited.passage.text
    units = passage_units(text, cited.passage.headings)
    held = [unit for unit in units if unit.start < cited.span.end and cited.span.start < unit.end]
    if not held:
        return None
    covered = units_within(text, units, held[0].start, held[-1].end)
    return Cited(cited.passage, Span(units[covered[0]].start, units[covered[-1]].end)) if covered else None
