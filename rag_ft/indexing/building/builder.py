"""Documents into a new generation of an index: cut, embed what is new, reuse the rest.

Vectors belong to texts, not to files: a passage whose text (with its title) was embedded before, in the former
generation or in a build that was killed, is not embedded again, wherever it stands now.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import JsonValue

from rag_ft.errors import UsageError
from rag_ft.indexing.access import Label, label_of, labelled
from rag_ft.indexing.building.cutting import cut_document, embed_checked, invalid_unicode
from rag_ft.indexing.building.rows import (
    CopiedDocument,
    DocumentRows,
    KnownVectors,
    StagedDocument,
    Staging,
    append_span,
)
from rag_ft.indexing.building.writer import GenerationWriter
from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.corpus import blocks_checksum, document_content, document_fingerprint
from rag_ft.indexing.embedding import arithmetic_of
from rag_ft.indexing.sources.events import CorpusFailure, Cut, printable
from rag_ft.indexing.sources.original import Original
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.journal import Journal
from rag_ft.indexing.storage.lines import json_line
from rag_ft.indexing.storage.manifest import EmbedderEntry, Failure, Manifest
from rag_ft.indexing.storage.store import IndexStore
from rag_ft.indexing.storage.table import TableRow
from rag_ft.indexing.storage.vectors import IndexKindChoice
from rag_ft.progress import OnProgress, Progress, notify
from rag_ft.schema import Document

if TYPE_CHECKING:
    from rag_ft.indexing.chunking import Chunker
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.sentence_embedding import Vectors

BLOCK_PASSAGES = 1024
"""Passages embedded between two writes of the journal: a killed build loses at most these, about 10 s of work."""


class GenerationBuilder:
    """Takes or keeps documents, then writes them. Use it under `store.writing()`.

    `base`: the former generation, to reuse and to compare with. `on_progress` gets the number of passages embedded so
    far; the total is known at the end.
    """

    def __init__(
        self,
        store: IndexStore,
        base: Generation | None,
        *,
        embedder: Embedder,
        chunker: Chunker,
        chunking: Mapping[str, JsonValue],
        entry: EmbedderEntry,
        on_progress: OnProgress | None = None,
        keep_originals: bool = False,
    ) -> None:
        self.embedder = embedder
        self.chunker = chunker
        self._on_progress = on_progress
        same_embedder = base is not None and base.manifest.embedder.fingerprint == entry.fingerprint
        self._base = base
        # The base, if its rows can be copied as they are.
        self._copied = base if same_embedder and base is not None and base.manifest.chunking == dict(chunking) else None
        # what another backend computed before the build was killed is computed again
        journal = Journal(store.journal, f"{entry.fingerprint} {arithmetic_of(embedder)}", entry.dimension)
        self.vectors = KnownVectors(journal, base if same_embedder else None)
        """What need not be embedded."""
        self._writer = GenerationWriter(
            store,
            base.manifest if base else None,
            embedder=embedder,
            chunking=chunking,
            entry=entry,
            former=self._copied,
        )
        try:
            self._staging = Staging(self._writer.folder)
        except BaseException:
            self._writer.abandon()
            raise
        self.chosen: dict[str, DocumentRows] = {}
        """The documents of the new generation, by id."""
        self._files: dict[str, str] = {}
        """`TableRow.file` of each document that was taken, by id."""
        self.conservation: dict[str, Conservation | None] = {}
        """What the conservation check found for each document that was taken, by id."""
        self._originals: dict[str, str] = {}
        """`TableRow.original` of each document that was taken or kept, by id."""
        self._originals_folder = store.originals
        self.keeps_originals = keep_originals
        self._new_originals: list[str] = []
        """Originals that this build has written."""
        self._pending: dict[bytes, str] = {}
        """Texts to embed, by key."""
        self.added: list[str] = []
        self.changed: list[str] = []
        self.kept: list[str] = []
        self.unchanged = 0
        self.embedded = 0
        self.failures: list[Failure] = []
        self._report_embedded()

    def take(
        self,
        document: Document,
        fingerprint: str,
        file: str = "",
        conservation: Conservation | None = None,
        places: bytes = b"",
        original: Original | None = None,
        cut: Cut | None = None,
    ) -> None:
        """Take a document that was read from a file; one that is unchanged is copied from the base.

        `cut`: its passages, if it was cut by this builder's chunker before.
        """
        self._files[document.id] = file if file != document.id else ""
        before = self._base.position_of.get(document.id) if self._base is not None else None
        if self._copied is not None and before is not None:
            row = self._copied.table[before]
            if row.fingerprint == fingerprint and row.blocks == blocks_checksum(document):
                self.conservation[document.id] = conservation or row.conservation
                same = self._copied.places_file.raw(before) == places
                self.chosen[document.id] = CopiedDocument(
                    self._copied, before, None if same else self._staging.stage_places(places)
                )
                self.unchanged += 1
                self._originals[document.id] = self._keep_original(original)
                return
        reason = invalid_unicode(document)
        if reason is not None:
            self.failures.append(Failure(printable(document.source or document.id), reason))
            if self._base is not None and before is not None:
                self._carry_over(self._base, before, label_of(document.metadata))
            return
        self.conservation[document.id] = conservation
        (self.added if before is None else self.changed).append(document.id)
        self.chosen[document.id] = self._stage(document, fingerprint, places, cut)
        self._originals[document.id] = self._keep_original(original)

    def _keep_original(self, original: Original | None) -> str:
        """Keep the file that a document was read from, if originals are kept; returns `TableRow.original`."""
        if original is None or not self.keeps_originals:
            return ""
        if self._originals_folder.path(original.sha256) is None:
            self._new_originals.append(original.sha256)
        return original.sha256 if self._originals_folder.keep(original) else ""

    def copyable(self) -> dict[str, str]:
        """Fingerprints of the documents of the base that can be copied as they are, by id."""
        return {row.id: row.fingerprint for row in self._copied.table} if self._copied is not None else {}

    def keep_unchanged(self, document_id: str, file: str) -> None:
        """Take a document of `copyable` as the base has it: its file is unchanged and was not read again."""
        assert self._copied is not None
        position = self._copied.position_of[document_id]
        self._files[document_id] = file if file != document_id else ""
        row = self._copied.table[position]
        self.conservation[document_id] = row.conservation
        self._originals[document_id] = row.original if self.keeps_originals else ""
        self.chosen[document_id] = CopiedDocument(self._copied, position)
        self.unchanged += 1

    def keep_others(self, refused: Container[str | None] = ()) -> None:
        """Carry over every document of the base that was not taken, except those in `refused`."""
        if self._copied is None:
            return
        for position, row in enumerate(self._copied.table):
            if row.id not in self.chosen and row.id not in refused:
                self.chosen[row.id] = CopiedDocument(self._copied, position)

    def keep_unreadable(
        self, failures: Sequence[CorpusFailure], ceiling: Callable[[str], Label | None] = lambda file: None
    ) -> None:
        """Carry over documents that cannot be read now, alone or with their file or folder: unreadable is not gone.

        If a line is not JSON, nobody knows which document it was: all documents of its file that were not read stay.
        `ceiling`: the widest access the rules allow a file now.
        """
        refused = {failure.document for failure in failures if failure.refused}
        unreadable = [failure for failure in failures if not failure.refused]
        if self._base is None or not unreadable:
            return
        ids = {failure.document for failure in unreadable if failure.document is not None}
        unnamed = [failure for failure in unreadable if failure.document is None]
        files, sources = {failure.file for failure in unnamed}, {failure.source for failure in unnamed}
        for position, row in enumerate(self._base.table):
            path = PurePosixPath(row.file or row.id)
            if (
                row.id not in self.chosen
                and row.id not in refused
                and (row.id in ids or row.source in sources or not files.isdisjoint(map(str, (path, *path.parents))))
            ):
                self._carry_over(self._base, position, ceiling(str(path)))
        self.embed_pending()

    def _carry_over(self, base: Generation, position: int, ceiling: Label | None = None) -> None:
        """Keep a document as it was indexed, but with access no wider than `ceiling`.

        It is cut and embedded again if the other documents are.
        """
        row, places = base.table[position], base.places_file.raw(position)
        self.kept.append(row.id)
        self.conservation[row.id] = row.conservation
        self._files[row.id] = row.file
        self._originals[row.id] = row.original if self.keeps_originals else ""
        if ceiling is not None:
            before = base.document(position)
            with contextlib.suppress(UsageError):  # a document without a valid label is hidden already
                document = labelled(before, ceiling)
                if document is not before:
                    self.chosen[row.id] = self._stage(document, document_fingerprint(document), places)
                    return
        self.chosen[row.id] = (
            CopiedDocument(self._copied, position)
            if self._copied is not None
            else self._stage(base.document(position), row.fingerprint, places)
        )

    def _stage(self, document: Document, fingerprint: str, places: bytes, cut: Cut | None = None) -> StagedDocument:
        if cut is None or not all(key in self.vectors for key in cut.keys):
            cut, texts = cut_document(document, self.chunker)
            for key, text in zip(cut.keys, texts, strict=True):
                if key not in self._pending and key not in self.vectors:
                    self._pending[key] = text
        staged = StagedDocument(
            TableRow(
                document.id,
                fingerprint,
                document.title,
                document.source,
                dict(document.metadata),
                len(cut.lines),
                blocks=blocks_checksum(document),
                places=len(places),
            ),
            append_span(self._staging.documents, json_line(document_content(document))),
            append_span(self._staging.passages, b"".join(cut.lines)),
            self._staging.stage_places(places),
            [len(line) for line in cut.lines],
            cut.keys,
            self._staging,
            self.vectors,
        )
        if len(self._pending) >= BLOCK_PASSAGES:
            self.embed_pending()
        return staged

    def embed_pending(self) -> None:
        """Embed the texts that are pending, and put their vectors into the journal."""
        keys, texts = list(self._pending), list(self._pending.values())
        for start in range(0, len(keys), BLOCK_PASSAGES):
            part = slice(start, start + BLOCK_PASSAGES)
            self.keep_vectors(keys[part], embed_checked(self.embedder, texts[part]))
        self._pending.clear()

    def keep_vectors(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Put vectors into the journal, durably, without those that are known."""
        new = [row for row, key in enumerate(keys) if key not in self.vectors]
        if new:
            self.vectors.add([keys[row] for row in new], vectors[new])
        self.embedded += len(new)
        self._report_embedded()

    def end_embedding(self) -> None:
        """Embed the texts that are pending, and report that these were the last."""
        self.embed_pending()
        self._report_embedded(total=self.embedded)

    def _report_embedded(self, total: int | None = None) -> None:
        notify(self._on_progress, Progress("embedding passages", self.embedded, total))

    def same_as_base(self) -> bool:
        """Whether the documents taken and kept are exactly those of the base."""
        return (
            self._copied is not None
            and all(
                isinstance(document, CopiedDocument) and document.new_places is None
                for document in self.chosen.values()
            )
            and len(self.chosen) == len(self._copied.table)
            and all(self._files.get(row.id, row.file) == row.file for row in self._copied.table)
            and all(self._originals.get(row.id, row.original) == row.original for row in self._copied.table)
            and all(self.conservation.get(row.id, row.conservation) == row.conservation for row in self._copied.table)
        )

    def final_row(self, document: DocumentRows) -> TableRow:
        """A document's row in the new table, with what this build knows of its file."""
        row = document.row
        return replace(
            row,
            file=self._files.get(row.id, row.file),
            conservation=self.conservation.get(row.id, row.conservation),
            original=self._originals.get(row.id, row.original),
        )

    def write(self, kind_choice: IndexKindChoice) -> Manifest:
        """Write all files of the generation, sealed, and return the manifest to commit."""
        self.embed_pending()
        documents = [self.chosen[name] for name in sorted(self.chosen)]
        return self._writer.write(documents, kind_choice, final_row=self.final_row, staging=self._staging)

    def abandon(self) -> None:
        """Delete the unfinished generation; the journal stays, so that another attempt need not embed again."""
        try:
            self._staging.close()
            needed = {row.original for row in self._base.table} if self._base is not None else set()
            for original in {*self._new_originals} - needed:
                self._originals_folder.remove(original)
        finally:
            self._writer.abandon()
