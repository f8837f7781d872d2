"""What the options of `rag-ft ask` choose: an index, how it is searched, and who reads. Loaded here, or on workers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from rag_ft.cli.options import (
    PASSAGES_PANEL,
    READER_PANEL,
    CrossEncoderOption,
    GroupedAdapter,
    GroupedIndexEmbedder,
    GroupedK,
    GroupedWhere,
    ModeChoice,
    ReadingChoice,
    RetrievalChoice,
    ThresholdOption,
    parse_groups,
    parse_where,
)

if TYPE_CHECKING:
    from rag_ft.answering.config import ReaderSettings
    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.answering.reading import PassageReader
    from rag_ft.indexing.index import Index

Name = TypeVar("Name", str, str | None)


@dataclass(frozen=True)
class PipelineOptions:
    """How an index is searched, and who reads what is found."""

    k: GroupedK = 3
    retrieval: Annotated[
        RetrievalChoice | None,
        typer.Option(
            metavar="METHOD",
            help="How to rank passages: dense, bm25, hybrid or blend. Default: blend.",
            show_default=False,
            rich_help_panel=PASSAGES_PANEL,
        ),
    ] = None
    where: GroupedWhere = None
    groups: Annotated[
        str | None,
        typer.Option(
            help="Answer only from documents that these groups may read: names separated by commas.",
            show_default=False,
            rich_help_panel=PASSAGES_PANEL,
        ),
    ] = None
    embedder: GroupedIndexEmbedder = None
    reader: Annotated[
        str,
        typer.Option(
            help="Base model: 'default', a model folder, a .gguf file or a hub id; or the URL, ending in /v1, of a"
            " server with OpenAI's API.",
            rich_help_panel=READER_PANEL,
        ),
    ] = "default"
    model: Annotated[
        str | None,
        typer.Option(
            help="Model of the server at --reader; needed if it has several. The key is in OPENAI_API_KEY.",
            show_default=False,
            rich_help_panel=READER_PANEL,
        ),
    ] = None
    adapter: GroupedAdapter = None
    cross_encoder: CrossEncoderOption = None
    mode: Annotated[
        ModeChoice,
        typer.Option(
            metavar="MODE",
            help="quote: only words of a passage, or null. schema: any text, valid JSON. free: unconstrained.",
            rich_help_panel=READER_PANEL,
        ),
    ] = ModeChoice.quote
    reading: Annotated[
        ReadingChoice | None,
        typer.Option(
            metavar="METHOD",
            help="separate: one prompt per passage. joint: one prompt for all. Default: as the adapter was trained.",
            show_default=False,
            rich_help_panel=READER_PANEL,
        ),
    ] = None
    threshold: ThresholdOption = None


@dataclass(frozen=True)
class PipelineChoice:
    """An index with the options of a pipeline over it; another process can load an equal pipeline from it."""

    index: Path | str
    """A folder, or the address of a database."""
    options: PipelineOptions

    def for_workers(self) -> PipelineChoice:
        """The same choice for processes with another working folder: folders by their whole paths."""
        from rag_ft.indexing.databases.address import lasting_address

        options = self.options
        adapter = options.adapter
        return PipelineChoice(
            lasting_address(self.index) if isinstance(self.index, str) else self.index.absolute(),
            replace(
                options,
                embedder=_whole_path(options.embedder),
                reader=_whole_path(options.reader),
                adapter=adapter.absolute() if adapter is not None and adapter.exists() else adapter,
                cross_encoder=_whole_path(options.cross_encoder),
            ),
        )

    def load(self) -> Pipeline:
        """The pipeline. Raises what loading an index and a reader raises."""
        with _without_collecting():
            from rag_ft.answering.pipeline import Pipeline

            index, retrieval = self._index(), self.options.retrieval
            retriever = index.as_retriever(
                k=self.options.k, mode=None if retrieval is None else retrieval.value, where=self._where()
            )
            if retrieval == RetrievalChoice.bm25:  # words are searched without an embedder
                return Pipeline(retriever, self._reader())
            import torch  # noqa: F401  (two threads that import it at once would wait for each other)

            with _beside(lambda: index.embedder):
                reader = self._reader()
            return Pipeline(retriever, reader)

    def _where(self) -> Any:
        return parse_where(self.options.where)

    def _index(self) -> Index:
        """The index, as far as the groups may read it. Raises UsageError where no document matches the filter."""
        from rag_ft.errors import UsageError
        from rag_ft.indexing.filters import OWN_FIELDS
        from rag_ft.indexing.index import Index

        index = Index.load(self.index, embedder=self.options.embedder)
        if self.options.groups is not None:
            index = index.visible_to(parse_groups(self.options.groups))
        rows = index.searcher().rows_where(self._where())
        if rows is not None and not len(rows):
            fields = sorted({*OWN_FIELDS, *(name for entry in index.entries() for name in entry.metadata)})
            raise UsageError(
                f"no document of the index at {index.place} matches {' and '.join(self.options.where or ())}: its"
                f" fields are {', '.join(fields)}"
            )
        return index

    def _reader(self) -> PassageReader:
        from rag_ft.answering.reader import Reader
        from rag_ft.answering.remote import RemoteReader, is_server
        from rag_ft.errors import UsageError

        options = self.options
        if is_server(options.reader):
            self._refuse_local_options()
            # A remote reader itself refuses the mode that it does not have.
            return RemoteReader.from_server(options.reader, options.model, mode=options.mode.value)
        if options.model is not None:
            raise UsageError("--model names a model of a server: give its URL with --reader")
        settings: ReaderSettings = {"mode": options.mode.value, "threshold": options.threshold}
        if options.reading is not None:
            settings["reading"] = options.reading.value
        return Reader.from_pretrained(
            options.reader, adapter=options.adapter, cross_encoder=options.cross_encoder, **settings
        )

    def _refuse_local_options(self) -> None:
        """Raise UsageError for an option that only a reader on this machine has."""
        from rag_ft.errors import UsageError

        for name in ("adapter", "cross_encoder", "threshold", "reading"):
            if getattr(self.options, name) is not None:
                mend = "name the adapter as the server does, with --model" if name == "adapter" else "leave it out"
                raise UsageError(f"--{name.replace('_', '-')} is for a reader on this machine, not at a server: {mend}")


@contextmanager
def _without_collecting() -> Iterator[None]:
    """A context that is not interrupted to look for garbage: what is imported and loaded in it stays.

    Without it a tenth of the imports' time goes into looking through all modules, again and again.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()  # else the first collection afterwards looks through all of it
            gc.enable()


@contextmanager
def _beside(work: Callable[[], object]) -> Iterator[None]:
    """A context beside which another thread works; what it raises is dropped, and comes again at the first use."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        yield


def _whole_path(name: Name) -> Name:
    """The whole path of a file or folder; any other name, such as a hub id, as it is."""
    return str(Path(name).absolute()) if name is not None and Path(name).exists() else name
