"""Options that more than one command takes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class ModeChoice(str, Enum):
    """How the reader answers."""

    quote = "quote"
    schema = "schema"
    free = "free"


class ReadingChoice(str, Enum):
    """How the reader takes the passages."""

    joint = "joint"
    separate = "separate"


class RetrievalChoice(str, Enum):
    """How passages are found."""

    dense = "dense"
    bm25 = "bm25"
    hybrid = "hybrid"
    blend = "blend"


IndexPath: TypeAlias = Annotated[Path, typer.Option("--index", "-i", help="Folder of the index.")]
K: TypeAlias = Annotated[int, typer.Option("-k", help="Passages to retrieve.")]
Mode: TypeAlias = Annotated[
    ModeChoice,
    typer.Option(help="quote: only words of a passage, or null. schema: any text, valid JSON. free: unconstrained."),
]
Reading: TypeAlias = Annotated[
    ReadingChoice | None, typer.Option(help="separate: one prompt per passage. joint: one prompt for all.")
]
Threshold: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Answer only what is right with at least this probability: 0 always, 1 never. Default: the adapter's"
        " threshold; without one, an answer must outscore null."
    ),
]
ReaderName: TypeAlias = Annotated[str, typer.Option("--reader", help="default, a model folder, a .gguf, or a hub id.")]
EmbedderName: TypeAlias = Annotated[str, typer.Option("--embedder", help="default, a folder, or a hub id.")]
IndexEmbedder: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        help="The embedder of an index that was built elsewhere with one of its own: a folder, or a hub id. Given once,"
        " it is remembered.",
        show_default=False,
    ),
]
AdapterPath: TypeAlias = Annotated[
    Path | None, typer.Option("--adapter", help="Folder of a LoRA adapter, or 'none' for the untuned reader.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Retrieval: TypeAlias = Annotated[RetrievalChoice | None, typer.Option(help="How to find passages.")]
Where: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--where", help="Only documents whose field has this value: FIELD=VALUE, repeatable."),
]


def parse_groups(text: str) -> tuple[str, ...]:
    """`staff,legal` as names of groups; an empty text is none. Raises UsageError."""
    from rag_ft.errors import UsageError
    from rag_ft.indexing.access import groups_of

    try:
        return groups_of([name.strip() for name in text.split(",")] if text.strip() else [])
    except UsageError as error:
        raise UsageError(f"--groups {error}") from None


def parse_where(pairs: list[str] | None) -> dict[str, object] | None:
    """`FIELD=VALUE` pairs as a filter; a repeated field means any of its values.

    A value is both its text and what that says as JSON: `2.0` finds the number and the version "2.0".
    """
    import json

    from rag_ft.errors import UsageError

    found: dict[str, list[object]] = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--where is {pair!r} but must be FIELD=VALUE, for example topic=tuning")
        values = found.setdefault(name, [])
        values.append(value)
        try:
            parsed = json.loads(value)
        except ValueError:
            continue
        if parsed is None or isinstance(parsed, str | bool | int | float):
            values.append(parsed)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()} or None
