"""BUILD, add, remove: one change of an index from start to commit, under its lock."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rag_ft.errors import (
    CorpusError,
    IndexCorruptError,
    IndexMismatchError,
    IndexMissingError,
    IndexStoreError,
    UsageError,
)
from rag_ft.indexing.building.builder import GenerationBuilder
from rag_ft.indexing.building.rows import CopiedDocument
from rag_ft.indexing.building.selecting import select_documents
from rag_ft.indexing.building.sentinels import check_sentinels
from rag_ft.indexing.building.writer import GenerationWriter
from rag_ft.indexing.chunking import Chunker, ChunkingConfig
from rag_ft.indexing.corpus import Corpus, Source, document_fingerprint, read_corpus
from rag_ft.indexing.filters import Where
from rag_ft.indexing.ocr.reading import Former, ocr_before
from rag_ft.indexing.sources.events import CorpusFailure, ReadDocument, SkippedFile, UnchangedDocument
from rag_ft.indexing.sources.known import KnownFiles
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.manifest import BuildReport, EmbedderEntry, Failure, Manifest, RemovalReport
from rag_ft.indexing.storage.store import IndexStore, open_generation
from rag_ft.indexing.storage.vectors import IndexKindChoice
from rag_ft.progress import OnProgress
from rag_ft.questions.feedback import Feedback

if TYPE_CHECKING:
    from rag_ft.indexing.distributed.blocks import BuildEngine
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.formats import ReadLimits
    from rag_ft.indexing.ocr.engine import OcrSettings


logger = logging.getLogger(__name__)


def build_index(
    store: IndexStore,
    source: Source,
    *,
    embedder: Embedder,
    chunking: ChunkingConfig,
    kind: IndexKindChoice,
    limits: ReadLimits | None,
    source_code: bool = False,
    on_progress: OnProgress | None,
    lock_timeout_s: float,
    keep_originals: bool,
    known_files: KnownFiles | None = None,
    ocr: OcrSettings | None = None,
    engine: BuildEngine | None = None,
) -> BuildReport:
    """Make the index of a source, or bring it up to date: see `Index.build`."""
    started = time.monotonic()
    with store.writing(lock_timeout_s):
        base = _base_to_reuse(store, embedder)
        # What is committed stays until the new generation is, even if none of it can be reused.
        committed = store.committed_generation()
        # Without any manifest there is only what killed builds left; a damaged one may still be restored.
        if committed is not None or not store.manifest_path.exists():
            store.sweep(committed, journal=False)
        if ocr is None and base is not None and ocr_before(base.table) is not None:
            logger.warning(
                "the index at %s has recognised text of scanned pages, and this build drops what it cannot read:"
                " add --ocr to keep it",
                store.path,
            )
        corpus = read_source(source, store.path, base, limits, source_code, known_files, ocr, keep_originals)
        builder = generation_builder(store, base, embedder, chunking, on_progress, keep_originals)
        with abandoned_on_error(builder), _read_by(engine, corpus, builder) as corpus:
            unread = take_all(builder, corpus, known_files)
            builder.keep_unreadable(unread.failures, corpus.ceiling)
            refuse_nothing(builder, corpus.name, unread)
            manifest = _commit(store, builder, base, kind)
    return build_report(builder, unread, base, manifest, started)


def _read_by(engine: BuildEngine | None, corpus: Corpus, builder: GenerationBuilder) -> AbstractContextManager[Corpus]:
    """The corpus as it is read: in this process, or by an engine before it is taken."""
    if engine is None:
        return nullcontext(corpus)
    from rag_ft.indexing.distributed.run import read_by_workers

    return read_by_workers(corpus, engine, builder)


def add_to_index(
    store: IndexStore,
    source: Source,
    *,
    embedder: Embedder,
    limits: ReadLimits | None,
    source_code: bool = False,
    on_progress: OnProgress | None,
    lock_timeout_s: float,
    keep_originals: bool,
    ocr: OcrSettings | None = None,
) -> BuildReport:
    """Add the documents of a source to an index, or replace them there: see `Index.add`."""
    started = time.monotonic()
    with store.writing(lock_timeout_s):
        base = open_generation(store, verify="full")
        check_sentinels(base, embedder, store.path)
        store.sweep(base.manifest.generation, journal=False)
        corpus = read_source(source, store.path, base, limits, source_code, ocr=ocr, keep_originals=keep_originals)
        builder = generation_builder(
            store, base, embedder, ChunkingConfig.stored(base.manifest.chunking), on_progress, keep_originals
        )
        with abandoned_on_error(builder):
            unread = take_all(builder, corpus)
            refuse_nothing(builder, corpus.name, unread)
            builder.keep_others({failure.document for failure in unread.failures if failure.refused})
            manifest = _commit(store, builder, base, base.manifest.kind_choice)
    return build_report(builder, unread, base, manifest, started)


def remove_from_index(
    store: IndexStore, ids: Sequence[str] | None, where: Where | None, *, lock_timeout_s: float
) -> RemovalReport:
    """Erase documents by id or by filter: see `Index.remove`."""
    with store.writing(lock_timeout_s):
        base = open_generation(store, verify="full")
        # A build that was killed may have left texts of these very documents.
        store.sweep(base.manifest.generation, journal=True)
        removed = select_documents(base, store.path, ids, where)
        report = removal_report(base, removed, dry_run=False, store=store)
        manifest = base.manifest
        writer = GenerationWriter(
            store, manifest, embedder=None, chunking=manifest.chunking, entry=manifest.embedder, former=base
        )
        with abandoned_on_error(writer):
            rest = [CopiedDocument(base, position) for position in range(len(base.table)) if position not in removed]
            store.commit(writer.write(rest, manifest.kind_choice))
    return report


def removal_report(
    generation: Generation, removed: set[int], *, dry_run: bool, store: IndexStore | None
) -> RemovalReport:
    """Report what a removal of these documents does. `store`: the folder with the feedback on them, if there is one."""
    rows = [generation.table[position] for position in sorted(removed)]
    passages = sum(row.passages for row in rows)
    feedback: list[Feedback] = []
    with suppress(IndexStoreError):  # a damaged file is reported by what erases its records
        feedback = store.feedback.read() if store is not None else []
    names = {row.id for row in rows}
    return RemovalReport(
        dry_run=dry_run,
        documents=tuple(row.id for row in rows),
        passages=passages,
        remaining_documents=len(generation.table) - len(rows),
        remaining_passages=len(generation) - passages,
        feedback=sum(not names.isdisjoint(entry.documents) for entry in feedback),
    )


@contextmanager
def abandoned_on_error(unfinished: GenerationBuilder | GenerationWriter) -> Iterator[None]:
    """Delete what was written of an unfinished generation if the block fails."""
    try:
        yield
    except BaseException:
        unfinished.abandon()
        raise


def _base_to_reuse(store: IndexStore, embedder: Embedder) -> Generation | None:
    """The former generation if it is sound; a damaged one is built again and never copied from."""
    try:
        base = open_generation(store, verify="full")
    except IndexMissingError:
        return None
    except IndexCorruptError as error:
        logger.warning("%s; everything is embedded again", error)
        return None
    try:
        check_sentinels(base, embedder, store.path)
    except IndexMismatchError as error:
        logger.warning("%s; everything is embedded again", error)
        # An index of another embedder gives no vectors, but it holds documents that may be unreadable now.
        return base if base.manifest.embedder.fingerprint != embedder.fingerprint else None
    return base


def read_source(
    source: Source,
    path: Path,
    base: Generation | None,
    limits: ReadLimits | None,
    source_code: bool,
    known_files: KnownFiles | None = None,
    ocr: OcrSettings | None = None,
    keep_originals: bool = True,
) -> Corpus:
    """The documents of a source, without those of the index itself at `path`."""
    rows = base.table if base is not None else []
    # Format 1 did not say which file a document came from; the source of SQuAD's articles does.
    known = {name for row in rows for name in (row.file or row.id, row.source)}
    of_file = {row.file or row.id: position for position, row in enumerate(rows)} if ocr is not None else {}

    def former(file: str) -> Former | None:
        if base is None or file not in of_file:
            return None
        position = of_file[file]
        return Former(base.document(position), base.table[position].conservation, base.places_file.raw(position))

    return read_corpus(
        source,
        exclude=[path],
        known=known,
        limits=limits,
        source_code=source_code,
        known_files=known_files,
        ocr=ocr,
        former=former,
        keep_originals=keep_originals,
    )


def generation_builder(
    store: IndexStore,
    base: Generation | None,
    embedder: Embedder,
    chunking: ChunkingConfig,
    on_progress: OnProgress | None,
    keep_originals: bool,
) -> GenerationBuilder:
    """A builder of the next generation with this embedder and chunking. Raises UsageError."""
    if chunking.max_tokens > embedder.max_tokens:
        raise UsageError(
            f"chunks of {chunking.max_tokens} tokens do not fit the embedder {embedder.name}, which reads at most"
            f" {embedder.max_tokens}: lower max_tokens"
        )
    entry = EmbedderEntry.of(embedder, None if base is None else base.manifest.embedder)
    # An equal chunking is kept as it is stored: what an old manifest does not say must not look like a change.
    stored = None if base is None else base.manifest.chunking
    if base is not None and base.manifest.rules != chunking.rules:
        logger.warning(
            "the index at %s was made by rules %d for passages and words: it is made again by rules %d",
            store.path,
            base.manifest.rules,
            chunking.rules,
        )
    if stored is None or ChunkingConfig.stored(stored) != chunking:
        stored = chunking.model_dump(mode="json")
    return GenerationBuilder(
        store,
        base,
        embedder=embedder,
        chunker=Chunker(chunking, embedder.count_tokens),
        chunking=stored,
        entry=entry,
        on_progress=on_progress,
        keep_originals=keep_originals,
    )


@dataclass
class Unread:
    """Failures and skipped files of a corpus."""

    failures: list[CorpusFailure] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)


def take_all(builder: GenerationBuilder, corpus: Corpus, known_files: KnownFiles | None = None) -> Unread:
    """Take every document of a corpus into the new generation, and embed what is new."""
    unread = Unread()
    if known_files is not None:
        known_files.begin(builder.copyable())
    # Closed here: the traceback of an error keeps this frame, and with it the process that reads.
    with closing(corpus.events()) as events:
        for event in events:
            if isinstance(event, ReadDocument):
                fingerprint = document_fingerprint(event.document)
                builder.take(
                    event.document,
                    fingerprint,
                    event.file,
                    event.conservation,
                    event.places,
                    event.original,
                    event.cut,
                )
                if known_files is not None:
                    known_files.took(event.document.id, fingerprint)
            elif isinstance(event, UnchangedDocument):
                builder.keep_unchanged(event.id, event.file)
            elif isinstance(event, CorpusFailure):
                unread.failures.append(event)
            else:
                unread.skipped.append(event)
        builder.embed_pending()
    return unread


def refuse_nothing(builder: GenerationBuilder, name: str, unread: Unread) -> None:
    """Raise CorpusError if a corpus gave no document at all."""
    if builder.chosen:
        return
    failures = _failures(unread, builder)
    if failures:
        first = failures[0]
        raise CorpusError(
            f"none of the {len(failures)} documents of {name} can be read, the first is {first.source} "
            f"({first.reason}): repair them or give others"
        )
    raise CorpusError(f"{name} holds no document: give a folder with texts, PDF, DOCX, HTML or EPUB files")


def _failures(unread: Unread, builder: GenerationBuilder) -> list[Failure]:
    return [*(Failure(failure.source, failure.reason) for failure in unread.failures), *builder.failures]


def _commit(store: IndexStore, builder: GenerationBuilder, base: Generation | None, kind: IndexKindChoice) -> Manifest:
    """Write and commit, unless nothing has changed; returns the manifest that counts now."""
    builder.end_embedding()
    if base is not None and builder.same_as_base() and base.manifest.kind_choice == kind:
        builder.abandon()
        store.sweep(base.manifest.generation, journal=True)
        return base.manifest
    manifest = builder.write(kind)
    store.commit(manifest)
    return manifest


def build_report(
    builder: GenerationBuilder, unread: Unread, base: Generation | None, manifest: Manifest, started: float
) -> BuildReport:
    """The report of a build or an addition that has ended."""
    return BuildReport(
        added=tuple(builder.added),
        changed=tuple(builder.changed),
        unchanged=builder.unchanged,
        removed=tuple(sorted(set(base.position_of if base else ()) - set(builder.chosen))),
        kept=tuple(builder.kept),
        passages=manifest.counts.passages,
        passages_embedded=builder.embedded,
        failures=tuple(_failures(unread, builder)),
        losses={name: found for name, found in sorted(builder.conservation.items()) if found and not found.complete},
        skipped=tuple(Failure(skipped.source, skipped.reason) for skipped in unread.skipped),
        seconds=round(time.monotonic() - started, 3),
    )
