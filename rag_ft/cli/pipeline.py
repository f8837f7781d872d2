"""What the options of `rag-ft ask` choose: an index, how it is searched, and who reads. Loaded here, or on workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rag_ft.cli.options import parse_groups, parse_where

if TYPE_CHECKING:
    from rag_ft.answering.config import ReaderSettings
    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.answering.reading import PassageReader
    from rag_ft.indexing.index import Index


Name = TypeVar("Name", str, str | None)


def _whole_path(name: Name) -> Name:
    """The whole path of a file or folder; any other name, such as that of a hub, as it is."""
    return str(Path(name).absolute()) if name is not None and Path(name).exists() else name


@dataclass(frozen=True)
class PipelineChoice:
    """Names and settings of a pipeline; another process can load an equal one from it."""

    index: Path | str
    """A folder, or the address of a database."""
    embedder: str | None = None
    groups: str | None = None
    where: tuple[str, ...] = ()
    k: int = 3
    retrieval: str | None = None
    reader: str = "default"
    model: str | None = None
    """Name of the model at the server that `reader` is the URL of."""
    adapter: Path | None = None
    cross_encoder: str | None = None
    settings: ReaderSettings | None = None
    """What was chosen of `ReaderConfig`."""

    def for_workers(self) -> PipelineChoice:
        """The same choice for processes with another working folder: folders by their whole paths."""
        from rag_ft.indexing.databases.address import lasting_address

        return replace(
            self,
            index=lasting_address(self.index) if isinstance(self.index, str) else self.index.absolute(),
            embedder=_whole_path(self.embedder),
            reader=_whole_path(self.reader),
            adapter=self.adapter.absolute() if self.adapter is not None and self.adapter.exists() else self.adapter,
            cross_encoder=_whole_path(self.cross_encoder),
        )

    def load(self) -> Pipeline:
        """The pipeline. Raises what loading an index and a reader raises."""
        from rag_ft.answering.pipeline import Pipeline

        index = self._index()
        filters: Any = parse_where([*self.where])
        retriever: Any = index.as_retriever(k=self.k, mode=self.retrieval, where=filters)  # type: ignore[arg-type]
        return Pipeline(retriever, self._reader())

    def _reader(self) -> PassageReader:
        from rag_ft.answering.reader import Reader
        from rag_ft.answering.remote import RemoteReader, is_server
        from rag_ft.errors import UsageError

        settings: ReaderSettings = self.settings or {}
        if not is_server(self.reader):
            if self.model is not None:
                raise UsageError("--model names a model of a server: give its URL with --reader")
            return Reader.from_pretrained(
                self.reader, adapter=self.adapter, cross_encoder=self.cross_encoder, **settings
            )
        given: dict[str, object] = {"--adapter": self.adapter, "--cross-encoder": self.cross_encoder}
        given |= {f"--{name}": settings.get(name) for name in ("threshold", "reading")}
        for name, value in given.items():
            if value is not None:
                hint = ": name the adapter as the server does, with --model" if name == "--adapter" else ""
                raise UsageError(f"{name} is for a reader on this machine, not at a server{hint or ': leave it out'}")
        return RemoteReader.from_server(self.reader, self.model, mode=settings.get("mode", "quote"))

    def _index(self) -> Index:
        """The index, as far as the groups may read it. Raises UsageError where no document matches the filter."""
        from rag_ft.errors import UsageError
        from rag_ft.indexing.filters import OWN_FIELDS
        from rag_ft.indexing.index import Index

        index = Index.load(self.index, embedder=self.embedder)
        if self.groups is not None:
            index = index.visible_to(parse_groups(self.groups))
        filters: Any = parse_where([*self.where])
        rows = index.searcher().rows_where(filters)
        if rows is not None and not len(rows):
            fields = sorted({*OWN_FIELDS, *(name for entry in index.entries() for name in entry.metadata)})
            raise UsageError(
                f"no document of the index at {index.place} matches {' and '.join(self.where)}: its fields are"
                f" {', '.join(fields)}"
            )
        return index
