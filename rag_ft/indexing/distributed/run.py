"""`read_by_workers`: the blocks of a corpus read by an engine, and the corpus that gives their documents to a build."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import rag_ft
from rag_ft.errors import EngineError, UsageError
from rag_ft.indexing.building.builder import GenerationBuilder
from rag_ft.indexing.corpus import Corpus, CorpusEntry
from rag_ft.indexing.distributed.blocks import BlockWork, BuildEngine, FileBlock, file_blocks
from rag_ft.indexing.distributed.finished import FinishedBlocks
from rag_ft.indexing.sentence_embedding import WindowedEmbedder
from rag_ft.indexing.sources.events import CorpusEvent, ReadDocument
from rag_ft.indexing.sources.file import SourceFile
from rag_ft.indexing.sources.original import Original
from rag_ft.indexing.sources.reader import CorpusFile
from rag_ft.indexing.sources.remote import RemoteFile, check_seen_by_workers, is_address

logger = logging.getLogger(__name__)


@contextmanager
def read_by_workers(corpus: Corpus, engine: BuildEngine, builder: GenerationBuilder) -> Iterator[Corpus]:
    """Have the files of a corpus read, cut and embedded; the corpus within the block gives what came of them.

    It gives the same events in the same order as the corpus itself, and the builder knows the vectors of all passages.
    Blocks that an earlier build has finished are not read again. Raises UsageError for documents in memory, and what
    the engine raises.
    """
    entries = corpus.entries()
    if entries is None:
        raise UsageError(f"workers read files, and the source is {corpus.name}: give a path, or leave the engine out")
    check_seen_by_workers(corpus.name)
    listed = list(entries)
    chunking = builder.chunker.config
    blocks = [
        *file_blocks([entry for entry in listed if isinstance(entry, SourceFile | RemoteFile)], chunking, corpus.limits)
    ]
    with FinishedBlocks(builder.vectors.folder, blocks) as finished:
        left = [block for block in blocks if block not in finished]
        if len(left) < len(blocks):
            logger.info("resuming: %d of %d blocks of files were read before", len(blocks) - len(left), len(blocks))
        if left:
            _read(engine, _work(corpus, builder), left, builder, finished)
        yield corpus.read_as(lambda: _replayed(listed, blocks, finished, builder.keeps_originals))


def _work(corpus: Corpus, builder: GenerationBuilder) -> BlockWork:
    embedder = builder.embedder
    return BlockWork(
        embedder=embedder.name if isinstance(embedder, WindowedEmbedder) else embedder,
        fingerprint=embedder.fingerprint,
        chunking=builder.chunker.config,
        limits=corpus.limits,
        root=None if is_address(corpus.name) else corpus.root,
        folder=Path.cwd(),
        known=builder.vectors.keys(),
        version=rag_ft.__version__,
    )


def _read(
    engine: BuildEngine,
    work: BlockWork,
    blocks: Sequence[FileBlock],
    builder: GenerationBuilder,
    finished: FinishedBlocks,
) -> None:
    """Read the blocks, and keep what comes: the vectors first, so that those of a finished block are all known."""
    by_number = {block.number: block for block in blocks}
    with closing(engine.parts(work, blocks)) as parts:
        for part in parts:
            builder.keep_vectors(part.keys, part.vectors)
            finished.take(by_number[part.block], part)
    if not all(block in finished for block in blocks):
        raise EngineError("the engine ended before all files were read: run the same command again, which resumes")


def _with_original(event: CorpusEvent, file: CorpusFile, keeps_originals: bool) -> Iterator[CorpusEvent]:
    """An event with its file at hand, if that is to be kept: one from elsewhere is fetched again."""
    if (
        keeps_originals
        and isinstance(file, RemoteFile)
        and isinstance(event, ReadDocument)
        and event.original is not None
    ):
        with file.fetched() as local:
            yield event._replace(original=Original(event.original.sha256, local))
    else:
        yield event


def _replayed(
    entries: Sequence[CorpusEntry], blocks: Sequence[FileBlock], finished: FinishedBlocks, keeps_originals: bool
) -> Iterator[CorpusEvent]:
    """What the entries of a corpus give, in order, each file's events from its finished block."""
    waiting = iter(entries)

    def others_before_a_file() -> Iterator[CorpusEvent]:
        for entry in waiting:
            if isinstance(entry, SourceFile | RemoteFile):
                return
            yield entry

    for block in blocks:
        reached = -1
        for position, event in finished.events(block):
            while reached < position:
                yield from others_before_a_file()
                reached += 1
            yield from _with_original(event, block.files[position], keeps_originals)
        for _ in range(reached + 1, len(block.files)):
            yield from others_before_a_file()
    yield from others_before_a_file()
