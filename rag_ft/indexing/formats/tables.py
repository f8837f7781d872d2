"""Table rows as lines of text that can be understood without the rows around them."""

from __future__ import annotations

from collections.abc import Sequence


def table_rows(rows: Sequence[Sequence[str]], header: bool) -> list[str]:
    """Write each data row as `Name: value | Name: value`, or without a header as `value | value`.

    With `header`, the first row holds the column names. A cell without a name stands alone; empty cells are dropped.
    If a column's name is used in no row, a line with all names comes first, so that no word is lost.
    """
    names = [name.strip() for name in rows[0]] if header and rows else []
    unused = {column for column, name in enumerate(names) if name}
    lines: list[str] = []
    for row in rows[1:] if header else rows:
        parts: list[str] = []
        for column, value in enumerate(row):
            value = value.strip()
            if not value:
                continue
            name = names[column].rstrip(":") if column < len(names) else ""
            unused.discard(column)
            parts.append(f"{name}: {value}" if name else value)
        if parts:
            lines.append(" | ".join(parts))
    if unused:
        lines.insert(0, " | ".join(name for name in names if name))
    return lines
