"""Build, add, remove: one change of an index in a database, from the documents to the transaction.

Documents are read, cut, compared and embedded by what builds an index folder; only the last step differs. What is
embedded goes into a journal in the user's own `environment.home()` first, so that a build that was killed resumes on
this machine.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rag_ft import environment
from rag_ft.environment import library_versions
from rag_ft.errors import IndexMismatchError, IndexMissingError
from rag_ft.indexing.building.builder import GenerationBuilder
from rag_ft.indexing.building.changes import (
    abandoned_on_error,
    build_report,
    generation_builder,
    read_source,
    refuse_nothing,
    removal_report,
    take_all,
)
from rag_ft.indexing.building.rows import CopiedDocument, StagedDocument
from rag_ft.indexing.building.selecting import select_documents
from rag_ft.indexing.building.sentinels import check_sentinels, evenly_spread
from rag_ft.indexing.building.writer import middle_words
from rag_ft.indexing.chunking import ChunkingConfig, passage_text, passage_words
from rag_ft.indexing.corpus import Source
from rag_ft.indexing.databases.generation import DatabaseGeneration
from rag_ft.indexing.databases.store import (
    Change,
    DatabaseKind,
    DatabaseStore,
    NewDocument,
    NewPassage,
    Settings,
    StoreSession,
    StoreWriter,
    UpdatedDocument,
)
from rag_ft.indexing.filters import Where
from rag_ft.indexing.storage.journal import KEY_BYTES
from rag_ft.indexing.storage.manifest import BuildReport, EmbedderEntry, Manifest, RemovalReport
from rag_ft.indexing.storage.store import IndexStore
from rag_ft.indexing.storage.table import stored_passage, text_key
from rag_ft.indexing.storage.vectors import RECALL_AT
from rag_ft.indexing.storage.words import Words
from rag_ft.progress import OnProgress

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.formats import ReadLimits
    from rag_ft.indexing.ocr.engine import OcrSettings

_RECALL_QUERIES = 50


def journal_folder(store: DatabaseStore) -> Path:
    """Where this machine keeps what a killed build of an index has embedded."""
    return environment.home() / "databases" / hashlib.sha256(store.address.encode()).hexdigest()[:16]


class ReadOptions(NamedTuple):
    """How a source is read: see `Index.build`."""

    limits: ReadLimits | None = None
    source_code: bool = False
    ocr: OcrSettings | None = None
    on_progress: OnProgress | None = None


def read_state(session: StoreSession, store: DatabaseStore) -> DatabaseGeneration:
    """The state that a session sees. Raises IndexStoreError."""
    settings = session.settings()
    return DatabaseGeneration(store, settings.version, settings, session.documents())


def change_index(
    store: DatabaseStore,
    source: Source,
    *,
    embedder: Embedder,
    chunking: ChunkingConfig | None,
    kind: DatabaseKind | None,
    whole: bool,
    options: ReadOptions,
    lock_timeout_s: float,
) -> BuildReport:
    """Bring an index to the state of a source, or add its documents to it.

    `whole`: the source is all that the index shall hold. `chunking`, `kind` None: as they are.
    """
    started = time.monotonic()
    work = IndexStore(journal_folder(store))
    with work.writing(lock_timeout_s), store.writing(lock_timeout_s) as writer:
        work.sweep(None, journal=False)
        base = _base(writer, store, embedder, may_be_missing=whole)
        if chunking is None:
            chunking = ChunkingConfig() if base is None else ChunkingConfig.stored(base.manifest.chunking)
        if kind is None:
            kind = store.kinds[0] if base is None else base.settings.kind
        corpus = read_source(
            source, work.path, base, options.limits, options.source_code, ocr=options.ocr, keep_originals=False
        )
        builder = generation_builder(work, base, embedder, chunking, options.on_progress, False)
        with abandoned_on_error(builder):
            unread = take_all(builder, corpus)
            if whole:
                builder.keep_unreadable(unread.failures, corpus.ceiling)
            refuse_nothing(builder, corpus.name, unread)
            if not whole:
                builder.keep_others({failure.document for failure in unread.failures if failure.refused})
            builder.end_embedding()
            manifest = _commit(store, writer, builder, base, embedder, chunking, kind)
        report = build_report(builder, unread, base, manifest, started)
        builder.abandon()
        work.sweep(None, journal=True)
    return report


def _base(
    writer: StoreWriter, store: DatabaseStore, embedder: Embedder, *, may_be_missing: bool
) -> DatabaseGeneration | None:
    """The present state, if there is an index. Raises IndexMismatchError if another embedder has made it."""
    try:
        session = writer.session()
        base = read_state(session, store).within(session)
    except IndexMissingError:
        if may_be_missing:
            return None
        raise
    entry = base.settings.embedder
    if entry.fingerprint != embedder.fingerprint or entry.dimension != embedder.dimension:
        raise IndexMismatchError(
            f"the index at {store.address} was built with the embedder {entry.name} ({entry.dimension} dimensions), not"
            f" with {embedder.name} ({embedder.dimension}): give that embedder, or another name after '#' in the"
            " address"
        )
    check_sentinels(base, embedder, store.address)
    return base


def _commit(
    store: DatabaseStore,
    writer: StoreWriter,
    builder: GenerationBuilder,
    base: DatabaseGeneration | None,
    embedder: Embedder,
    chunking: ChunkingConfig,
    kind: DatabaseKind,
) -> Manifest:
    """Write the change, unless there is none; returns the manifest that counts now."""
    if base is not None and builder.same_as_base() and base.settings.kind == kind:
        return base.manifest
    stored = chunking.model_dump(mode="json")
    if base is not None and ChunkingConfig.stored(base.manifest.chunking) == chunking:
        stored = base.manifest.chunking
    settings = Settings(
        version=secrets.token_hex(8),
        next_document=1 if base is None else base.settings.next_document,
        embedder=EmbedderEntry.of(embedder, None if base is None else base.manifest.embedder),
        chunking=stored,
        kind=kind,
        recall_at_10=1.0 if base is None else base.settings.recall_at_10,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=library_versions(),
    )
    writer.write(_change(builder, base, settings))
    session = store.session()  # searches as a reader does: the writer's own would search with less effort
    try:
        after = read_state(session, store).within(session)
        recall = _recall(after, embedder) if kind == "hnsw" else None
    finally:
        session.close()
    if recall is not None:
        writer.write(Change(after.settings.model_copy(update={"recall_at_10": recall}), (), (), ()))
    return after.manifest


def _change(builder: GenerationBuilder, base: DatabaseGeneration | None, settings: Settings) -> Change:
    removed: list[int] = []
    updated: list[UpdatedDocument] = []
    staged: list[StagedDocument] = []
    for name in sorted(builder.chosen):
        document = builder.chosen[name]
        if isinstance(document, StagedDocument):
            staged.append(document)
            continue
        assert base is not None and isinstance(document, CopiedDocument)
        position = base.position_of[name]
        row = builder.final_row(document)
        if document.new_places is not None or row != base.table[position]:
            places = None if document.new_places is None else document.new_places.read()
            updated.append(UpdatedDocument(int(base.numbers[position]), row, places))
    if base is not None:
        new = {document.row.id for document in staged}
        removed = [
            int(number)
            for row, number in zip(base.table, base.numbers, strict=True)
            if row.id not in builder.chosen or row.id in new
        ]
    first = settings.next_document
    settings = settings.model_copy(update={"next_document": first + len(staged)})
    return Change(settings, removed, _new_documents(builder, staged, first, settings), updated)


def _new_documents(
    builder: GenerationBuilder, staged: Sequence[StagedDocument], first: int, settings: Settings
) -> Iterator[NewDocument]:
    """Staged documents with their vectors and words, one at a time."""
    rules = ChunkingConfig.stored(settings.chunking).rules
    words = Words(rules)
    for number, document in enumerate(staged, start=first):
        row = builder.final_row(document)
        vectors = np.empty((len(document.keys), settings.embedder.dimension), dtype=np.float32)
        document.fill(vectors, np.empty((len(document.keys), KEY_BYTES), dtype=np.uint8))
        contents = [json.loads(line) for line in document.passage_lines().data.splitlines()]
        passages = [
            NewPassage(
                content,
                key,
                int(np.uint64(text_key(content["text"])).astype(np.int64)),
                words.of(passage_words(stored_passage(row, content), rules)),
                vector,
            )
            for content, key, vector in zip(contents, document.keys, vectors, strict=True)
        ]
        content = document.document_line().data.decode().rstrip("\n")
        yield NewDocument(number, row, content, document.places(), passages)


def _recall(state: DatabaseGeneration, embedder: Embedder) -> float:
    """Share of the exact ten nearest that the approximate index finds, for queries of some consecutive words."""
    rows = np.array(evenly_spread(len(state), _RECALL_QUERIES), dtype=np.int64)
    queries = [middle_words(passage_text(passage, state.manifest.rules)) for passage in state.passages_at(rows)]
    queries = [query for query in queries if query]
    if not queries:
        return 1.0
    hits = wanted = 0
    with state.reading() as session:
        for vector in embedder.encode_query(queries):
            exact, found = (
                {tuple(pair) for pair in np.column_stack(session.nearest(vector, RECALL_AT, None, which).rows).tolist()}
                for which in (True, False)
            )
            wanted += min(len(exact), RECALL_AT)  # of equal passages, all come
            hits += min(len(exact & found), RECALL_AT)
    return round(hits / max(1, wanted), 4)


def remove_documents(
    store: DatabaseStore, ids: Sequence[str] | None, where: Where | None, *, lock_timeout_s: float
) -> RemovalReport:
    """Erase documents by id or by filter: see `Index.remove`."""
    work = IndexStore(journal_folder(store))
    with work.writing(lock_timeout_s), store.writing(lock_timeout_s) as writer:
        work.sweep(None, journal=True)  # a build that was killed may have left texts of these very documents
        session = writer.session()
        base = read_state(session, store).within(session)
        removed = select_documents(base, store.address, ids, where)
        report = removal_report(base, removed, dry_run=False, store=None)
        settings = base.settings.model_copy(update={"version": secrets.token_hex(8)})
        writer.write(Change(settings, [int(base.numbers[position]) for position in sorted(removed)], (), ()))
        writer.erase()
    return report
