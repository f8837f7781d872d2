"""Options of the commands that build an index, and the build that they describe."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from rag_ft.cli.options import (
    EmbedderOption,
    EmbedWithOption,
    EngineChoice,
    Place,
    address_option,
    check_engine,
    engine_option,
    for_ray,
    index_place,
    source_place,
    worker_gpus_option,
    workers_option,
)

if TYPE_CHECKING:
    from rag_ft.indexing.chunking import ChunkingConfig
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.formats import ReadLimits
    from rag_ft.indexing.index import Index
    from rag_ft.indexing.ocr.engine import OcrSettings

SourceArgument = Annotated[
    Place,
    typer.Argument(
        parser=source_place,
        metavar="SOURCE",
        help="Folder or file with documents, or the address of one, such as s3://bucket/docs.",
        show_default=False,
    ),
]
"""A `Path`, or an address as text: what `Index.build` takes."""
IndexFolder = Annotated[
    Place,
    typer.Argument(
        parser=index_place,
        metavar="INDEX",
        help="Index folder, or the address of a database.",
        show_default=False,
    ),
]


class IndexKindChoice(str, Enum):
    """Kinds of FAISS index."""

    auto = "auto"
    flat = "flat"
    hnsw = "hnsw"
    ivf_pq = "ivf-pq"


@dataclass(frozen=True)
class ReadOptions:
    """How files are read and kept: what one may cost, and whether losing a word is a failure."""

    read_seconds: Annotated[
        float | None, typer.Option(help="Maximum seconds per file. Default: 60.", show_default=False)
    ] = None
    read_memory: Annotated[
        int | None, typer.Option(help="Maximum memory per file, in megabytes. Default: 2048.", show_default=False)
    ] = None
    max_chars: Annotated[
        int | None, typer.Option(help="Maximum characters per document. Default: 50,000,000.", show_default=False)
    ] = None
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if any word of a document was lost, and name every one.")
    ] = False

    source_code: Annotated[
        bool, typer.Option("--source-code", help="Also read a folder's source files, such as .py, .ts, .sql and .yaml.")
    ] = False
    keep_originals: Annotated[
        bool,
        typer.Option(
            "--keep-originals",
            help="Keep the files beside the index, for the server's page; without it, none are kept.",
            rich_help_panel="For the server",
        ),
    ] = False
    ocr: Annotated[
        bool,
        typer.Option(
            "--ocr",
            help="Recognise the text of scanned pages and of images (.png, .jpg, .tif, .webp); takes seconds per page.",
        ),
    ] = False
    ocr_language: Annotated[
        str, typer.Option(metavar="LANGUAGES", help="Languages of scanned pages, as tesseract names them: eng+deu.")
    ] = "eng"

    def ocr_settings(self) -> OcrSettings | None:
        """How text is recognised; None if it is not."""
        from rag_ft.indexing.ocr.engine import OcrSettings

        return OcrSettings(self.ocr_language) if self.ocr else None

    def limits(self) -> ReadLimits:
        """The limits of reading. Raises UsageError."""
        from rag_ft.indexing.formats import ReadLimits

        limits: dict[str, Any] = {
            "seconds": self.read_seconds,
            "memory_bytes": None if self.read_memory is None else self.read_memory * 1_000_000,
            "max_chars": self.max_chars,
        }
        return replace(ReadLimits(), **{name: value for name, value in limits.items() if value is not None})


@dataclass(frozen=True)
class BuildOptions(ReadOptions):
    """How an index is built."""

    kind: Annotated[IndexKindChoice, typer.Option(help="Kind of FAISS index: flat is exact; auto chooses by size.")] = (
        IndexKindChoice.auto
    )
    max_tokens: Annotated[
        int | None, typer.Option(help="Maximum tokens per passage, title included.", show_default=False)
    ] = None
    embedder: EmbedderOption = "default"
    embed_with: EmbedWithOption = None

    def load_embedder(self) -> Embedder:
        """Load the embedder on the backend that was chosen. Raises WeightsError, UsageError."""
        from rag_ft.indexing.embedding import load_embedder

        chosen = self.embed_with
        return load_embedder(self.embedder, backend=None if chosen is None else chosen.value)

    def build(self, source: Path, index: Path, *, embedder: Embedder | None = None, **settings: Any) -> Index:
        """Build the index; `embedder`: the one that `self.embedder` names, if it is in memory already."""
        from rag_ft.indexing.index import Index

        return Index.build(
            source,
            index,
            embedder=embedder or (self.embedder if self.embed_with is None else self.load_embedder()),
            chunking=self.chunking(),
            kind=self.kind.value,
            limits=self.limits(),
            keep_originals=self.keep_originals,
            source_code=self.source_code,
            ocr=self.ocr_settings(),
            **settings,
        )

    def check(self) -> None:
        """Raise UsageError for a wrong value, before any work."""
        self.limits()
        self.chunking()
        ocr = self.ocr_settings()
        if ocr is not None:
            ocr.checked()

    def chunking(self) -> ChunkingConfig:
        """How documents are cut. Raises UsageError."""
        from pydantic import ValidationError

        from rag_ft.errors import UsageError
        from rag_ft.indexing.chunking import ChunkingConfig

        if self.max_tokens is None:
            return ChunkingConfig()
        try:
            return ChunkingConfig(max_tokens=self.max_tokens)
        except ValidationError as error:
            raise UsageError(f"--max-tokens is {self.max_tokens}: {error.errors()[0]['msg']}") from error


CLUSTER_PANEL = "On a cluster"


@dataclass(frozen=True)
class PlacedBuildOptions(BuildOptions):
    """How an index is built, and where its files are read and embedded."""

    engine: Annotated[EngineChoice, engine_option(CLUSTER_PANEL)] = EngineChoice.local
    address: Annotated[str | None, address_option(CLUSTER_PANEL)] = None
    workers: Annotated[int | None, workers_option(CLUSTER_PANEL)] = None
    worker_gpus: Annotated[float, worker_gpus_option(CLUSTER_PANEL)] = 0

    def check(self) -> None:
        """Raise UsageError for a wrong value, before any work."""
        super().check()
        check_engine(self.engine, for_ray(self.address, self.workers, self.worker_gpus))

    def build(self, source: Path, index: Path, *, embedder: Embedder | None = None, **settings: Any) -> Index:
        """Build the index, on a cluster if that is chosen."""
        if self.engine is EngineChoice.ray:
            from rag_ft.indexing.distributed.on_ray import RayBuild

            settings["engine"] = RayBuild(address=self.address, workers=self.workers, gpus=self.worker_gpus)
        return super().build(source, index, embedder=embedder, **settings)


def with_options(group: type[Any], name: str = "options") -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the fields of a dataclass as options; it gets them as one object in the parameter `name`."""

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        hints, shared_hints = get_type_hints(command, include_extras=True), get_type_hints(group, include_extras=True)
        options = [field.name for field in fields(group)]
        parameters = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(command).parameters.values()
            if parameter.name != name
        ]
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=shared_hints[field.name]
            )
            for field in fields(group)
        ]

        @functools.wraps(command)
        def with_them(**values: Any) -> int:
            values[name] = group(**{option: values.pop(option) for option in options})
            return command(**values)

        described: Any = with_them
        described.__signature__ = inspect.Signature(parameters)
        described.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_them

    return decorate
