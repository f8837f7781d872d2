"""Checks that an index is what its manifest says, and that a document is no longer in it.

Reads everything, changes nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rag_ft.errors import RagFtError
from rag_ft.indexing.building.sentinels import check_sentinels
from rag_ft.indexing.places import PlacesError
from rag_ft.indexing.storage.bm25 import Bm25Index
from rag_ft.indexing.storage.folder import (
    FEEDBACK_LOCK,
    LOCK,
    PASSAGES,
    foreign_in_index,
    own_in_index,
    unfinished_manifests,
)
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.journal import passage_key
from rag_ft.indexing.storage.manifest import Check, VerifyReport, index_fingerprint
from rag_ft.indexing.storage.store import IndexStore, open_generation
from rag_ft.indexing.storage.table import passage_texts, text_keys, words_of_passages
from rag_ft.schema import Document, Passage
from rag_ft.text.sentences import sentence_spans

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder

logger = logging.getLogger(__name__)

SENTENCE_CHARACTERS = 25
"""Shorter sentences are not searched for: many texts contain them."""
_BLOCK = 8 * 1024 * 1024
_CLEAR = "'rag-ft index build', add or remove clears leftovers"


def verify_index(path: Path, embedder: Callable[[], Embedder], absent: str | None) -> VerifyReport:
    """Check the index at `path` as it is on disk now; `embedder` loads its embedder, or raises.

    `absent`: also prove that a document is gone. Each check is logged as it ends.
    """
    store = IndexStore(path)
    checks: list[Check] = []

    def note(name: str, ok: bool, detail: str) -> None:
        checks.append(Check(name=name, ok=ok, detail=detail))
        logger.info("%s: %s: %s", "ok" if ok else "FAILED", name, detail)

    try:
        generation = open_generation(store, verify="full")
    except RagFtError as error:
        note("files", False, str(error))
        return VerifyReport(ok=False, checks=tuple(checks))
    size = sum(entry.size for entry in generation.manifest.files.values())
    note("files", True, f"{len(generation.manifest.files)} files, {size:,} bytes, have their checksums")
    for name, check in (
        ("counts", _check_counts),
        ("passages", _check_passages),
        ("places", _check_places),
        ("vectors", _check_vectors),
        ("words", _check_words),
        ("fingerprint", _check_fingerprint),
    ):
        note(name, *check(generation))
    note("originals", *_check_originals(store, generation))
    note("feedback", *_check_feedback(store, generation))
    try:
        check_sentinels(generation, embedder(), store.path)
        note("embedder", True, f"{generation.manifest.embedder.name} gives the same vectors for sentinel passages")
    except RagFtError as error:
        note("embedder", False, str(error))
    note("leftovers", *_check_leftovers(store, generation))
    if absent is not None:
        for check_absent in _check_absent(embedder, store, generation, absent):
            note(check_absent.name, check_absent.ok, check_absent.detail)
    return VerifyReport(ok=all(check.ok for check in checks), checks=tuple(checks))


def _texts(generation: Generation) -> Iterator[str]:
    return passage_texts(generation.folder / PASSAGES, generation.table, generation.manifest.rules)


class _Result(NamedTuple):
    """The result of a check."""

    ok: bool
    detail: str


def _check_counts(generation: Generation) -> _Result:
    counts = generation.manifest.counts
    rows = {
        "passages": len(generation.passages),
        "vectors": len(generation.vectors),
        "keys": len(generation.keys),
        "word rows": len(generation.bm25),
        "table": int(generation.firsts[-1]),
    }
    wrong = {name: count for name, count in rows.items() if count != counts.passages}
    expected = f"{counts.passages:,} passages of {counts.documents:,} documents"
    if wrong or counts.documents != len(generation.table):
        return _Result(False, f"the manifest says {expected}, the files hold {wrong or len(generation.table)}")
    return _Result(True, f"{expected} in every file")


def _check_passages(generation: Generation) -> _Result:
    for position, row in enumerate(generation.table):
        document = generation.document(position)
        if document.id != row.id:
            return _Result(False, f"document {row.id!r} is stored under another id")
        for passage in generation.passages_of(position):
            if passage.text != document.text[passage.start : passage.end]:
                return _Result(False, f"passage {passage.id} is not the text of its document at these offsets")
    keys = generation.text_keys
    if keys is not None and not np.array_equal(keys, text_keys(generation.folder / PASSAGES, generation.table)):
        return _Result(False, "the keys of equal passages are not those of their texts")
    return _Result(True, "every passage is its document's text at its offsets")


def _check_places(generation: Generation) -> _Result:
    known = 0
    for position, row in enumerate(generation.table):
        try:
            places = generation.places(position)
            if places is None:
                continue
            document = generation.document(position)
            places.check(document.text, document.page_starts)
        except (PlacesError, RagFtError) as error:
            return _Result(False, f"the places of document {row.id!r} cannot be used: {error}")
        known += 1
    return _Result(True, f"{known:,} documents have the places of their characters, each within its pages or lines")


def _check_vectors(generation: Generation) -> _Result:
    for row, text in enumerate(_texts(generation)):
        if generation.keys[row].tobytes() != passage_key(text):
            return _Result(False, f"the vector of row {row} belongs to another text than its passage")
    vectors = generation.vectors.vectors
    for start in range(0, len(vectors), 65_536):
        norms = np.linalg.norm(vectors[start : start + 65_536], axis=1)
        if not bool(np.all(np.abs(norms - 1.0) < 1e-3)):
            return _Result(False, "a vector does not have length 1")
    if not generation.vectors.lists_each_row_once():
        return _Result(False, "the lists do not hold each vector once")
    return _Result(True, "every vector has length 1 and belongs to the text of its passage")


def _check_words(generation: Generation) -> _Result:
    rules = generation.manifest.rules
    rebuilt = Bm25Index.build(words_of_passages(generation.folder / PASSAGES, generation.table, rules), rules)
    if not generation.bm25.equals(rebuilt):
        return _Result(False, "the BM25 postings are not those of the passages")
    return _Result(True, "the BM25 postings are those of the passages, word for word")


def _check_fingerprint(generation: Generation) -> _Result:
    from rag_ft.indexing.corpus import document_fingerprint

    manifest = generation.manifest
    for position, row in enumerate(generation.table):
        if document_fingerprint(generation.document(position)) != row.fingerprint:
            return _Result(False, f"the content of document {row.id!r} does not match its fingerprint")
    fingerprints = (row.fingerprint for row in generation.table)
    if index_fingerprint(fingerprints, manifest.embedder.fingerprint, manifest.chunking) != manifest.fingerprint:
        return _Result(False, "the index's fingerprint is not that of its documents")
    return _Result(True, manifest.fingerprint[:12])


def _check_originals(store: IndexStore, generation: Generation) -> _Result:
    kept = [row for row in generation.table if row.original]
    for row in kept:
        try:
            sound = store.originals.sound(row.original, fresh=True)
        except OSError as error:
            return _Result(False, f"the original of document {row.id!r} cannot be read ({error.strerror or error})")
        if not sound:
            return _Result(
                False,
                f"the original of document {row.id!r} is missing or damaged: build the index again with"
                " --keep-originals",
            )
    return _Result(True, f"{len(kept):,} documents have their original, unchanged" if kept else "none are kept")


def _check_feedback(store: IndexStore, generation: Generation) -> _Result:
    try:
        entries = store.feedback.read()
    except RagFtError as error:
        return _Result(False, str(error))
    for entry in entries:
        for name in sorted(entry.documents - generation.position_of.keys()):
            return _Result(False, f"a record names the document {name!r}, which is not there: {_CLEAR}")
    return _Result(True, f"{len(entries):,} records, all about documents that are there" if entries else "none is kept")


def _check_leftovers(store: IndexStore, generation: Generation) -> _Result:
    known = {generation.folder / name for name in generation.manifest.files}
    known |= {store.originals.folder / row.original for row in generation.table if row.original}
    leftovers = [path for path in own_in_index(store.path) if path not in known]
    leftovers += [*unfinished_manifests(store.path), *store.feedback.unfinished()]
    if leftovers:
        return _Result(False, f"{leftovers[0]} was left by a build that was killed: {_CLEAR}")
    foreign = foreign_in_index(store.path)
    if foreign:
        return _Result(True, f"nothing left by killed builds; {foreign[0]} is not rag_ft's and is never removed")
    return _Result(True, "no files beside those of the manifest")


def _check_absent(
    embedder: Callable[[], Embedder], store: IndexStore, generation: Generation, absent: str
) -> Iterator[Check]:
    """Check that a document is gone: by id always, by sentences and vectors if its file is available."""
    documents, reason = documents_at(absent)
    names = {absent, *(document.id for document in documents)}
    yield _absent_from_records(generation, names)
    yield _absent_from_files(store, names)
    if documents:
        yield _sentences_absent(store, generation, documents)
        yield vectors_absent(embedder, generation, documents, set(_texts(generation)))
        return
    yield Check(name="absent: sentences", ok=True, detail=f"not searched: {reason}")
    if absent not in generation.position_of:
        yield no_namesake(generation, absent)


def documents_at(absent: str) -> tuple[list[Document], str]:
    """The documents of the original file, or the reason why there are none."""
    from rag_ft.indexing.corpus import read_corpus

    try:
        if not Path(absent).is_file():
            return [], f"no file at {absent}"
    except (OSError, ValueError):  # not a valid name on any file system
        return [], f"no file at {absent}"
    contents = read_corpus(absent).read_all()
    reasons = [f"{failure.source} {failure.reason}" for failure in contents.failures]
    reasons += [f"{skipped.source} {skipped.reason}" for skipped in contents.skipped]
    return contents.documents, reasons[0] if reasons else ""


def no_namesake(generation: Generation, absent: str) -> Check:
    """Fail if the name is not an id but a document's id ends in the same file name: it may be a slip."""
    name = PurePath(absent).name
    namesakes = [row.id for row in generation.table if name and PurePosixPath(row.id).name == name]
    if not namesakes:
        return Check(name="absent: name", ok=True, detail=f"no document's id ends in {name!r}")
    shown = ", ".join(map(repr, namesakes[:3]))
    detail = f"{shown} ends in the same file name: pass that id if you meant it, else the path of the original"
    return Check(name="absent: name", ok=False, detail=detail)


def _absent_from_records(generation: Generation, names: set[str]) -> Check:
    for row in generation.table:
        for name in names & {row.id, row.source, row.file}:
            return Check(
                name="absent: records",
                ok=False,
                detail=f"{name!r} is {'a document' if name != row.file else f'the file of {row.id!r}'},"
                f" with {row.passages} passages",
            )
    shown = " and ".join(repr(name) for name in sorted(names))
    return Check(name="absent: records", ok=True, detail=f"no document, passage, vector or posting of {shown}")


def _absent_from_files(store: IndexStore, names: set[str]) -> Check:
    """Search every file below the index's folder, listed in the manifest or not, for records of the documents."""
    needles: list[bytes] = []
    for name in names:
        quoted = json.dumps(name, ensure_ascii=False).encode("utf-8", "surrogatepass")
        needles += [b'"id":' + quoted, b'"document_id":' + quoted, b'"source":' + quoted]
        needles += [b'"file":' + quoted, quoted[:-1] + b"#"]
    for path in _all_files(store):
        for needle in needles:
            if _holds(path, needle):
                return Check(
                    name="absent: files",
                    ok=False,
                    detail=f"{path} still holds {needle.decode(errors='replace')}: {_CLEAR}",
                )
    count = sum(1 for _ in _all_files(store))
    return Check(name="absent: files", ok=True, detail=f"not named as a record in any of {count} files, byte for byte")


def _sentences_absent(store: IndexStore, generation: Generation, documents: list[Document]) -> Check:
    sentences = sentences_of(documents)
    shared: dict[str, str] = {}
    for position, row in enumerate(generation.table):
        text = generation.document(position).text
        present = [sentence for sentence in sentences if sentence in text]
        if present and 2 * len(present) >= len(sentences):
            share = f"{len(present)} of its {len(sentences)} sentences"
            detail = f"{share} are in the document {row.id!r}: remove that too"
            return Check(name="absent: sentences", ok=False, detail=detail)
        shared.update((sentence, row.id) for sentence in present if sentence not in shared)
    unique = [sentence for sentence in sentences if sentence not in shared]
    for path in _all_files(store):
        for sentence in unique:
            if _holds(path, json.dumps(sentence, ensure_ascii=False).encode()[1:-1]):
                detail = f"{path} still holds {sentence[:60]!r}: {_CLEAR}"
                return Check(name="absent: sentences", ok=False, detail=detail)
    detail = f"none of its {len(unique):,} sentences in any file"
    if shared:
        also = sorted(set(shared.values()))
        detail += f"; {len(shared):,} more are in other documents that remain ({', '.join(also[:3])})"
    return Check(name="absent: sentences", ok=True, detail=detail)


def sentences_of(documents: list[Document]) -> list[str]:
    """The sentences of some documents that are long enough to be searched for."""
    return sorted(
        {
            line.strip()
            for document in documents
            for start, end in sentence_spans(document.text)
            # A copy in another format may break its lines elsewhere.
            for line in document.text[start:end].splitlines()
            if len(line.strip()) >= SENTENCE_CHARACTERS
        }
    )


def vectors_absent(
    load_embedder: Callable[[], Embedder], generation: Generation, documents: list[Document], kept_texts: set[str]
) -> Check:
    """Check that no stored vector is that of one of their passages, except texts that other documents share.

    `kept_texts`: the passages of the index as they were embedded.
    """
    from rag_ft.indexing.chunking import Chunker, ChunkingConfig, passage_text

    name = "absent: vectors"
    try:
        embedder = load_embedder()
        chunker = Chunker(ChunkingConfig.stored(generation.manifest.chunking), embedder.count_tokens)
        passages: list[Passage] = [passage for document in documents for passage in chunker.passages(document)]
        texts = [passage_text(passage, chunker.config.rules) for passage in passages]
        texts = [text for text in texts if text not in kept_texts]
        rankings = generation.vectors.search(embedder.encode_passages(texts), 1) if texts else []
    except RagFtError as error:
        return Check(name=name, ok=False, detail=str(error))
    for text, ranking in zip(texts, rankings, strict=True):
        if ranking and ranking[0].score > 0.99999:
            detail = f"row {ranking[0].row} has the vector of {text[:60]!r}"
            return Check(name=name, ok=False, detail=detail)
    return Check(
        name=name,
        ok=True,
        detail=f"none of its {len(texts):,} passages, embedded again, has its vector stored",
    )


def _all_files(store: IndexStore) -> Iterator[Path]:
    return (path for path in sorted(store.path.rglob("*")) if path.is_file() and path.name not in (LOCK, FEEDBACK_LOCK))


def _holds(path: Path, needle: bytes) -> bool:
    """Whether a file contains some bytes; it is read in overlapping blocks."""
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_BLOCK):
            if needle in tail + block:
                return True
            tail = (tail + block)[-len(needle) + 1 :] if len(needle) > 1 else b""
    return False
