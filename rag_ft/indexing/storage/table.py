"""Documents and passages as the files of an index hold them: the rows of the table, and passages without its fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter

from rag_ft.indexing.chunking import passage_text, passage_words
from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.storage.folder import offsets_path
from rag_ft.indexing.storage.reading import load_array, reading
from rag_ft.schema import Location, Metadata, Passage


@dataclass(frozen=True)
class TableRow:
    """A document without its text, as the table file holds it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    id: str
    fingerprint: str
    title: str
    source: str
    metadata: Metadata
    passages: Annotated[int, Field(ge=0, strict=True)]
    file: str = ""
    """The file it was read from (`ReadDocument.file`); empty if equal to the id, or if the document was in memory."""
    blocks: str = ""
    """Checksum of the document's blocks, which its fingerprint leaves out; empty if it has none."""
    conservation: Conservation | None = None
    """What was lost on the way from the file to the text; None if that was not checked."""
    places: Annotated[int, Field(ge=0, strict=True)] = 0
    """Bytes of the document's share of the file of places; 0 if its format does not say where characters stand."""
    original: str = ""
    """Hex SHA-256 of the file that it was read from, if that is kept; else empty."""

    def to_json(self) -> dict[str, Any]:
        """Encode the row for the table file."""
        return {
            **({"file": self.file} if self.file else {}),
            "id": self.id,
            "fingerprint": self.fingerprint,
            "title": self.title,
            "source": self.source,
            "metadata": self.metadata,
            "passages": self.passages,
            **({"blocks": self.blocks} if self.blocks else {}),
            **({"places": self.places} if self.places else {}),
            **({"original": self.original} if self.original else {}),
            **({"conservation": self._conservation()} if self.conservation is not None else {}),
        }

    def _conservation(self) -> dict[str, Any]:
        assert self.conservation is not None
        return self.conservation.model_dump(mode="json", exclude_defaults=True)


def passage_row(passage: Passage, document_title: str) -> dict[str, Any]:
    """A passage as the passage file holds it: without the fields that the table holds for its document."""
    # Chunking drops a long title, so a passage may lack that of its document.
    title = {} if passage.title == document_title else {"title": passage.title}
    locations = [(location.start, location.label, location.cells) for location in passage.locations]
    return {
        "start": passage.start,
        "end": passage.end,
        "page": passage.page,
        "headings": list(passage.headings),
        "text": passage.text,
        **title,
        **({} if passage.kind == "prose" else {"kind": passage.kind}),
        **({"locations": locations} if locations else {}),
    }


def stored_passage(document: TableRow, content: dict[str, Any]) -> Passage:
    """The passage that `passage_row` has made, with what the table says of its document."""
    return Passage(
        id=f"{document.id}#{content['start']}-{content['end']}",
        document_id=document.id,
        text=content["text"],
        start=content["start"],
        end=content["end"],
        title=content.get("title", document.title),
        source=document.source,
        headings=tuple(content["headings"]),
        page=content["page"],
        metadata=document.metadata,
        kind=content.get("kind", "prose"),
        locations=tuple(
            Location(start=start, label=label, cells=tuple(cells))
            for start, label, cells in content.get("locations", ())
        ),
    )


def passage_texts(
    path: Path, table: Sequence[TableRow], rules: int, rows: Iterable[int] | None = None
) -> Iterator[str]:
    """The passages of a passage file as they are embedded, in order. `rules`: those of the manifest.

    `rows`: only these, ascending.
    """
    for passage in _bare_passages(path, table, rows):
        yield passage_text(passage, rules)


def words_of_passages(
    path: Path, table: Sequence[TableRow], rules: int, rows: Iterable[int] | None = None
) -> Iterator[str]:
    """The passages of a passage file as they are searched by words, in order. `rules`, `rows`: as above."""
    for passage in _bare_passages(path, table, rows):
        yield passage_words(passage, rules)


def text_keys(path: Path, table: Sequence[TableRow], rows: Iterable[int] | None = None) -> NDArray[np.uint64]:
    """A number for the text of each passage of a passage file, equal where texts differ in white space alone.

    `rows`: only these, ascending.
    """
    return np.array([text_key(passage.text) for passage in _bare_passages(path, table, rows)], dtype=np.uint64)


def text_key(text: str) -> int:
    """A number for a text, equal for texts that differ in white space alone."""
    return int.from_bytes(hashlib.blake2b(" ".join(text.split()).encode(), digest_size=8).digest(), "little")


def _bare_passages(path: Path, table: Sequence[TableRow], rows: Iterable[int] | None) -> Iterator[Passage]:
    """Passages of a passage file, without what the table says of their documents, but with the title."""
    with reading(path), path.open("rb") as file:
        if rows is None:
            for document in table:
                for _ in range(document.passages):
                    yield _bare_passage(next(file), document)
            return
        starts: NDArray[np.int64] = load_array(offsets_path(path), mmap=True)
        ends = np.cumsum([document.passages for document in table], dtype=np.int64)
        for row in rows:
            file.seek(int(starts[row]))
            yield _bare_passage(file.readline(), table[int(np.searchsorted(ends, row, side="right"))])


def _bare_passage(line: bytes, document: TableRow) -> Passage:
    content = json.loads(line)
    title = content.pop("title", document.title)
    return Passage.model_construct(title=title, **content)


_ROWS = TypeAdapter(TableRow)


def read_table(path: Path) -> list[TableRow]:
    """The rows of a table file. Raises IndexStoreError."""
    with reading(path), path.open("rb") as file:
        return [_ROWS.validate_python(json.loads(line)) for line in file]
