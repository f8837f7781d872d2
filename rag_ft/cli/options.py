"""Options that more than one command takes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

PASSAGES_PANEL = "Passages"
READER_PANEL = "Reader"
ADAPTER_PANEL = "Adapter"
"""Panels of options, in the help of commands that have many."""


TOKEN_VARIABLE = "RAG_FT_TOKEN"
"""Environment variable that holds a token."""


Writer: TypeAlias = Literal["sentences", "generator", "both"]
"""As in `rag_ft.question_generation.make`, which a command loads when it is called."""

WRITER_HELP = (
    "What writes questions. sentences: those that answer one by themselves. generator: the packaged one. both: in turn."
)


class EngineChoice(str, Enum):
    """Where a large job is done."""

    local = "local"
    ray = "ray"


def engine_option(panel: str | None = None) -> Any:
    """`--engine`: where a large job is done."""
    return typer.Option(
        metavar="ENGINE",
        help="local: in this process. ray: by the workers of a Ray cluster.",
        rich_help_panel=panel,
    )


def address_option(panel: str | None = None) -> Any:
    """`--address`: which Ray cluster."""
    return typer.Option(
        metavar="HOST:PORT",
        help="The Ray cluster's head. Default: RAY_ADDRESS, else this machine's processors.",
        show_default=False,
        rich_help_panel=panel,
    )


def workers_option(panel: str | None = None) -> Any:
    """`--workers`: how many workers."""
    return typer.Option(
        help="Workers on the Ray cluster. Default: one per processor.", show_default=False, rich_help_panel=panel
    )


def worker_gpus_option(panel: str | None = None) -> Any:
    """`--worker-gpus`: how much of a GPU each worker gets."""
    return typer.Option(help="GPUs of each worker on the Ray cluster.", rich_help_panel=panel)


def for_ray(address: str | None, workers: int | None, worker_gpus: float) -> dict[str, object]:
    """What was chosen for a Ray cluster, by option; None for what was not."""
    return {"--address": address, "--workers": workers, "--worker-gpus": worker_gpus or None}


def check_engine(engine: EngineChoice, chosen: dict[str, object]) -> None:
    """Raise UsageError for options of a Ray cluster without one."""
    from rag_ft.errors import UsageError

    for name, value in chosen.items():
        if engine is EngineChoice.local and value is not None:
            raise UsageError(f"{name} is for --engine ray: add that, or leave it out")


class ModeChoice(str, Enum):
    """How the reader answers."""

    quote = "quote"
    schema = "schema"
    free = "free"


class ReadingChoice(str, Enum):
    """How the reader takes the passages."""

    joint = "joint"
    separate = "separate"


class EmbeddingBackend(str, Enum):
    """What embeds passages and questions."""

    auto = "auto"
    torch = "torch"
    openvino = "openvino"


class RetrievalChoice(str, Enum):
    """How passages are retrieved."""

    dense = "dense"
    bm25 = "bm25"
    hybrid = "hybrid"
    blend = "blend"


def _k(panel: str | None = None) -> Any:
    return typer.Option("-k", help="Passages to retrieve per question.", rich_help_panel=panel)


def _reader(panel: str | None = None) -> Any:
    return typer.Option(
        "--reader", help="Base model: 'default', a model folder, a .gguf file or a hub id.", rich_help_panel=panel
    )


def _adapter(panel: str | None = None) -> Any:
    return typer.Option(
        "--adapter",
        help="Folder of a LoRA adapter, or 'none' for the untuned reader.",
        show_default=False,
        rich_help_panel=panel,
    )


def _index_embedder(panel: str | None = None) -> Any:
    return typer.Option(
        "--embedder",
        help="Embedder of an index that was built elsewhere with a custom one: a folder or a hub id. Needed once; it is"
        " remembered.",
        show_default=False,
        rich_help_panel=panel,
    )


def _where(panel: str | None = None) -> Any:
    return typer.Option(
        "--where",
        metavar="FIELD=VALUE",
        help="Only documents whose field has this value; repeatable.",
        show_default=False,
        rich_help_panel=panel,
    )


def index_place(value: str) -> Any:
    """Where an index is: the path of its folder, or its address in a database as it was given."""
    from rag_ft.indexing.databases.address import is_database

    return value if is_database(value) else Path(value)


def source_place(value: str) -> Any:
    """Where documents are: the path of a folder or file, or an address as it was given."""
    from rag_ft.indexing.sources.remote import is_address

    return value if is_address(value) else Path(value)


if TYPE_CHECKING:
    Place: TypeAlias = Path
else:
    Place = str  # typer before 0.29 makes a Path of whatever a parser gives for one, also of an address

IndexOption: TypeAlias = Annotated[
    Place,
    typer.Option(
        "--index",
        "-i",
        parser=index_place,
        metavar="FOLDER",
        help="Index folder, or the address of a database.",
    ),
]
"""A `Path`, or the address of a database as text: what `Index.load` takes."""
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KOption: TypeAlias = Annotated[int, _k()]
ReaderOption: TypeAlias = Annotated[str, _reader()]
AdapterOption: TypeAlias = Annotated[Path | None, _adapter()]
IndexEmbedderOption: TypeAlias = Annotated[str | None, _index_embedder()]
WhereOption: TypeAlias = Annotated[list[str] | None, _where()]
WatchOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--watch",
        metavar="FOLDER",
        help="Keep the index equal to this folder while it is served; without an index, build it first.",
        show_default=False,
    ),
]
PollOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--poll",
        help="Look through the watched folder every 2 s: for network drives, which give no notices of changes.",
    ),
]
EmbedderOption: TypeAlias = Annotated[
    str, typer.Option("--embedder", help="Embedding model: 'default', a folder or a hub id.")
]
EmbedWithOption: TypeAlias = Annotated[
    EmbeddingBackend | None,
    typer.Option(
        "--embed-with",
        metavar="NAME",
        help="What embeds: auto (OpenVINO on a CPU where it is installed, else torch), torch or openvino. An index of"
        " one is searched with the other.",
        show_default=False,
    ),
]

# The same options in panels, for commands that have many.
GroupedK: TypeAlias = Annotated[int, _k(PASSAGES_PANEL)]
GroupedWhere: TypeAlias = Annotated[list[str] | None, _where(PASSAGES_PANEL)]
GroupedIndexEmbedder: TypeAlias = Annotated[str | None, _index_embedder(PASSAGES_PANEL)]
GroupedReader: TypeAlias = Annotated[str, _reader(READER_PANEL)]
GroupedAdapter: TypeAlias = Annotated[Path | None, _adapter(READER_PANEL)]
CrossEncoderOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--cross-encoder",
        metavar="FOLDER|packaged|none",
        help="Model that reranks and chooses the sentences that answer how, why, yes or no. Default: the one trained"
        " beside the adapter, else the packaged one for an adapter that was not tuned on parts.",
        show_default=False,
        rich_help_panel=READER_PANEL,
    ),
]
ThresholdOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Return null below this confidence: 0 always answers, 1 never. Default: the adapter's threshold; without"
        " one, an answer must outscore null.",
        show_default=False,
        rich_help_panel=READER_PANEL,
    ),
]


MoreAdaptersOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--with-adapter",
        metavar="NAME=FOLDER",
        help="Another adapter on the same base model, which requests can name; repeatable.",
        show_default=False,
        rich_help_panel=READER_PANEL,
    ),
]


def parse_adapters(pairs: list[str] | None) -> dict[str, str | Path] | None:
    """Folders of adapters by name, from `NAME=FOLDER` pairs. Raises UsageError."""
    from rag_ft.errors import UsageError

    adapters: dict[str, str | Path] = {}
    for pair in pairs or ():
        name, sign, folder = pair.partition("=")
        if not sign or not name or not folder:
            raise UsageError(f"--with-adapter is {pair!r}: give NAME=FOLDER")
        if name in adapters:
            raise UsageError(f"--with-adapter names {name!r} twice: give each adapter its own name")
        adapters[name] = folder
    return adapters or None


def parse_groups(text: str) -> tuple[str, ...]:
    """Names of groups from `staff,legal`; an empty text names none. Raises UsageError."""
    from rag_ft.errors import UsageError
    from rag_ft.indexing.access import groups_of

    try:
        return groups_of([name.strip() for name in text.split(",")] if text.strip() else [])
    except UsageError as error:
        raise UsageError(f"--groups {error}") from None


def parse_where(pairs: list[str] | None) -> dict[str, object] | None:
    """A filter from `FIELD=VALUE` pairs; a repeated field matches any of its values.

    A value is both its text and what that says as JSON: `2.0` matches the number and the version "2.0".
    """
    import json

    from rag_ft.errors import UsageError

    values_by_field: dict[str, list[object]] = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--where is {pair!r} but must be FIELD=VALUE, for example topic=tuning")
        values = values_by_field.setdefault(name, [])
        values.append(value)
        try:
            parsed = json.loads(value)
        except ValueError:
            continue
        if parsed is None or isinstance(parsed, str | bool | int | float):
            values.append(parsed)
    return {name: values[0] if len(values) == 1 else values for name, values in values_by_field.items()} or None
