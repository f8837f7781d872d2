"""A build, an addition or a removal, step by step, under the index's lock."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rag_ft.errors import CorpusError, IndexCorruptError, IndexMismatchError, IndexMissingError, UsageError
from rag_ft.indexing.builder import GenerationBuilder, check_sentinels
from rag_ft.indexing.corpus import Source
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.manifest import BuildReport, EmbedderEntry, Failure, RemovalReport
from rag_ft.indexing.storage.store import IndexStore, open_generation
from rag_ft.indexing.storage.vectors import KindChoice

if TYPE_CHECKING:
    from rag_ft.indexing.chunking import ChunkingConfig
    from rag_ft.indexing.corpus import Corpus
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.formats import ReadLimits


logger = logging.getLogger(__name__)


LOCK_TIMEOUT_S = 10.0


def check_kind(kind: str) -> None:
    """Raise UsageError for an index kind that does not exist."""
    if kind not in ("auto", "flat", "hnsw", "ivf-pq"):
        raise UsageError(f"there is no index kind {kind!r}: use auto, flat, hnsw or ivf-pq")


def base_to_reuse(store: IndexStore, embedder: Embedder) -> Generation | None:
    """The former generation where it is sound; a damaged one is built anew and never copied from."""
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
        # Of another embedder's index no vector is used, and documents that cannot be read now are still in it.
        return base if base.manifest.embedder.fingerprint != embedder.fingerprint else None
    return base


def read_source(source: Source, path: Path, base: Generation | None, limits: ReadLimits | None) -> Corpus:
    """The documents of a source, without those of the index itself."""
    from rag_ft.indexing.corpus import read_corpus

    rows = base.table if base is not None else []
    # Format 1 did not say which file a document came from; the source of SQuAD's articles does.
    known = {name for row in rows for name in (row.file or row.id, row.source)}
    return read_corpus(source, exclude=[path], known=known, limits=limits)


def generation_builder(
    store: IndexStore, base: Generation | None, embedder: Embedder, chunking: ChunkingConfig
) -> GenerationBuilder:
    """A builder of the next generation, with the embedder and the chunking asked for. Raises UsageError."""
    from rag_ft.indexing.chunking import Chunker, ChunkingConfig

    if chunking.max_tokens > embedder.max_tokens:
        raise UsageError(
            f"chunks of {chunking.max_tokens} tokens do not fit the embedder {embedder.name}, which reads at most"
            f" {embedder.max_tokens}: lower max_tokens"
        )
    entry = EmbedderEntry(
        name=embedder.name,
        fingerprint=embedder.fingerprint,
        dimension=embedder.dimension,
        max_tokens=embedder.max_tokens,
    )
    # As it is stored where it is the same: what an old manifest does not say must not look like a change.
    before = None if base is None else base.manifest.chunking
    if before is None or ChunkingConfig.stored(before) != chunking:
        before = chunking.model_dump(mode="json")
    return GenerationBuilder(
        store,
        base,
        embedder=embedder,
        chunker=Chunker(chunking, embedder.count_tokens),
        chunking=before,
        entry=entry,
    )


def take_all(builder: GenerationBuilder, corpus: Corpus, *, progress: bool) -> None:
    """Take every document of a corpus into the new generation."""
    from rag_ft.indexing.corpus import document_fingerprint
    from rag_ft.progress import ProgressBar

    with ProgressBar(progress) as bar:
        bar.stage("embedding passages")
        builder.show = bar.at
        for document in corpus:
            builder.take(document, document_fingerprint(document), corpus.file)
        builder.embed_pending()


def refuse_nothing(builder: GenerationBuilder, corpus: Corpus) -> None:
    """Raise CorpusError where a corpus gave no document at all."""
    if builder.chosen:
        return
    failures = _failures(corpus, builder)
    if failures:
        first = failures[0]
        raise CorpusError(
            f"none of the {len(failures)} documents of {corpus.name} can be read, the first is "
            f"{first.source} "
            f"({first.reason}): repair them or give others"
        )
    raise CorpusError(f"{corpus.name} holds no document: give a folder with texts, PDF, DOCX, HTML or EPUB files")


def _failures(corpus: Corpus, builder: GenerationBuilder) -> list[Failure]:
    return [*(Failure(one.source, one.reason) for one in corpus.failures), *builder.failures]


def commit_generation(store: IndexStore, builder: GenerationBuilder, base: Generation | None, kind: KindChoice) -> None:
    """Write and commit, unless nothing has changed."""
    if base is not None and builder.same_as_base() and base.manifest.kind_choice == kind:
        builder.abandon()
        store.sweep(base.manifest.generation, journal=True)
        return
    store.commit(builder.write(kind))


def build_report(
    builder: GenerationBuilder, corpus: Corpus, removed: tuple[str, ...], passages: int, started: float
) -> BuildReport:
    """What a build did, for the user."""
    return BuildReport(
        added=tuple(builder.added),
        changed=tuple(builder.changed),
        unchanged=builder.unchanged,
        removed=removed,
        kept=tuple(builder.kept),
        passages=passages,
        passages_embedded=builder.embedded,
        failures=tuple(_failures(corpus, builder)),
        skipped=tuple(Failure(one.source, one.reason) for one in corpus.skipped),
        seconds=round(time.monotonic() - started, 3),
    )


def removal_report(generation: Generation, gone: set[int], *, dry_run: bool) -> RemovalReport:
    """What a removal does, for the user."""
    rows = [generation.table[number] for number in sorted(gone)]
    passages = sum(row.passages for row in rows)
    return RemovalReport(
        dry_run=dry_run,
        documents=tuple(row.id for row in rows),
        passages=passages,
        remaining_documents=len(generation.table) - len(rows),
        remaining_passages=len(generation) - passages,
    )
