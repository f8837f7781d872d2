"""Proof that an index is what it says, and that a document is not in it any more.

Reads everything, changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from rag_ft.errors import RagFtError
from rag_ft.indexing.building.sentinels import check_sentinels
from rag_ft.indexing.storage.bm25 import Bm25Index
from rag_ft.indexing.storage.folder import LOCK, PASSAGES, foreign_in_index, own_in_index, unfinished_manifests
from rag_ft.indexing.storage.generation import Generation, passage_texts
from rag_ft.indexing.storage.journal import passage_key
from rag_ft.indexing.storage.manifest import Check, VerifyReport, index_fingerprint
from rag_ft.indexing.storage.store import IndexStore, open_generation
from rag_ft.schema import Document, Passage
from rag_ft.text.sentences import sentence_spans

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder

SENTENCE_CHARACTERS = 25
"""Shorter sentences are not searched for: they stand in many texts."""
_BLOCK = 8 * 1024 * 1024
_CLEAR = "'rag-ft index build', add or remove clears leftovers"


def verify_index(
    path: Path,
    embedder: Callable[[], Embedder],
    absent: str | None,
    progress: Callable[[str], None] | None = None,
) -> VerifyReport:
    """Checks of the index at `path` as it is on disk now; `embedder` gives its embedder, or raises."""
    store = IndexStore(path)
    checks: list[Check] = []

    def note(name: str, ok: bool, detail: str) -> None:
        checks.append(Check(name=name, ok=ok, detail=detail))
        if progress is not None:
            progress(f"{'ok' if ok else 'FAILED'}: {name}: {detail}")

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
        ("vectors", _check_vectors),
        ("words", _check_words),
        ("fingerprint", _check_fingerprint),
    ):
        problem, detail = check(generation)
        note(name, not problem, detail)
    try:
        check_sentinels(generation, embedder(), store.path)
        note(
            "embedder",
            True,
            f"{generation.manifest.embedder.name} gives the same vectors for sentinel passages",
        )
    except RagFtError as error:
        note("embedder", False, str(error))
    note("leftovers", *_check_leftovers(store, generation))
    if absent is not None:
        for check_absent in _check_absent(embedder, store, generation, absent):
            note(check_absent.name, check_absent.ok, check_absent.detail)
    return VerifyReport(ok=all(check.ok for check in checks), checks=tuple(checks))


Outcome = tuple[bool, str]


def _check_counts(generation: Generation) -> Outcome:
    counts = generation.manifest.counts
    found = {
        "passages": len(generation.passages),
        "vectors": len(generation.vectors),
        "keys": len(generation.keys),
        "word rows": len(generation.bm25),
        "table": int(generation.firsts[-1]),
    }
    wrong = {name: number for name, number in found.items() if number != counts.passages}
    if wrong or counts.documents != len(generation.table):
        return (
            True,
            f"the manifest says {counts.passages:,} passages of {counts.documents:,} documents, found {wrong}",
        )
    return False, f"{counts.passages:,} passages of {counts.documents:,} documents in every file"


def _check_passages(generation: Generation) -> Outcome:
    for number, row in enumerate(generation.table):
        document = generation.document(number)
        if document.id != row.id:
            return True, f"document {row.id!r} is stored under another id"
        for passage in generation.passages_of(number):
            if passage.text != document.text[passage.start : passage.end]:
                return True, f"passage {passage.id} is not the text of its document at these offsets"
    return False, "every passage is its document's text at its offsets"


def _check_vectors(generation: Generation) -> Outcome:
    for row, text in enumerate(passage_texts(generation.folder / PASSAGES, generation.table)):
        if generation.keys[row].tobytes() != passage_key(text):
            return True, f"the vector of row {row} belongs to another text than its passage"
    vectors = generation.vectors.vectors
    for start in range(0, len(vectors), 65_536):
        norms = np.linalg.norm(vectors[start : start + 65_536], axis=1)
        if not bool(np.all(np.abs(norms - 1.0) < 1e-3)):
            return True, "a vector does not have length 1"
    return False, "every vector has length 1 and belongs to the text of its passage"


def _check_words(generation: Generation) -> Outcome:
    again = Bm25Index.build(passage_texts(generation.folder / PASSAGES, generation.table))
    if not generation.bm25.equals(again):
        return True, "the BM25 postings are not those of the passages"
    return False, "the BM25 postings are those of the passages, word for word"


def _check_fingerprint(generation: Generation) -> Outcome:
    from rag_ft.indexing.corpus import document_fingerprint

    manifest = generation.manifest
    for number, row in enumerate(generation.table):
        if document_fingerprint(generation.document(number)) != row.fingerprint:
            return True, f"document {row.id!r} is not what its fingerprint says"
    rows = (row.fingerprint for row in generation.table)
    if index_fingerprint(rows, manifest.embedder.fingerprint, manifest.chunking) != manifest.fingerprint:
        return True, "the index's fingerprint is not that of its documents"
    return False, manifest.fingerprint[:12]


def _check_leftovers(store: IndexStore, generation: Generation) -> tuple[bool, str]:
    known = {generation.folder / name for name in generation.manifest.files}
    leftovers = [path for path in own_in_index(store.path) if path not in known]
    leftovers += unfinished_manifests(store.path)
    if leftovers:
        return False, f"{leftovers[0]} was left by a build that was ended: {_CLEAR}"
    foreign = foreign_in_index(store.path)
    if foreign:
        return True, f"nothing of ended builds; {foreign[0]} was not written by rag_ft and stays in any case"
    return True, "no files beside those of the manifest"


def _check_absent(
    embedder: Callable[[], Embedder], store: IndexStore, generation: Generation, absent: str
) -> Iterator[Check]:
    """The checks for one document: by id always, by its sentences and vectors where its file is at hand."""
    documents, why_none = _documents_at(absent)
    names = {absent, *(document.id for document in documents)}
    yield _absent_from_records(generation, names)
    yield _absent_from_files(store, names)
    if documents:
        yield _sentences_absent(store, generation, documents)
        yield _vectors_absent(embedder, generation, documents)
        return
    yield Check(name="absent: sentences", ok=True, detail=f"not searched: {why_none}")
    if absent not in generation.row_of:
        yield _no_namesake(generation, absent)


def _documents_at(absent: str) -> tuple[list[Document], str]:
    """The documents of the original, else why there are none."""
    from rag_ft.indexing.corpus import read_corpus

    try:
        if not Path(absent).is_file():
            return [], f"no file at {absent}"
    except (OSError, ValueError):  # a name that no file system takes
        return [], f"no file at {absent}"
    contents = read_corpus(absent).read_all()
    reasons = [f"{failure.source} {failure.reason}" for failure in contents.failures]
    reasons += [f"{skipped.source} {skipped.reason}" for skipped in contents.skipped]
    return contents.documents, reasons[0] if reasons else ""


def _no_namesake(generation: Generation, absent: str) -> Check:
    """A name that is no document's may be a slip: a document whose id ends in the same file name is shown."""
    name = PurePath(absent).name
    namesakes = [row.id for row in generation.table if name and PurePosixPath(row.id).name == name]
    if not namesakes:
        return Check(name="absent: name", ok=True, detail=f"no document's id ends in {name!r}")
    shown = ", ".join(map(repr, namesakes[:3]))
    detail = f"{shown} ends in the same file name: give that if it is meant, else the path of the original"
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
    """No record of the documents in any file below the index's folder, known to the manifest or not."""
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
    sentences = sorted(
        {
            line.strip()
            for document in documents
            for start, end in sentence_spans(document.text)
            # A copy in another format may break its lines elsewhere.
            for line in document.text[start:end].splitlines()
            if len(line.strip()) >= SENTENCE_CHARACTERS
        }
    )
    shared: dict[str, str] = {}
    for number, row in enumerate(generation.table):
        text = generation.document(number).text
        here = [sentence for sentence in sentences if sentence in text]
        if here and 2 * len(here) >= len(sentences):
            share = f"{len(here)} of its {len(sentences)} sentences"
            detail = f"{share} stand in the document {row.id!r}: remove that too"
            return Check(name="absent: sentences", ok=False, detail=detail)
        shared.update((sentence, row.id) for sentence in here if sentence not in shared)
    own = [sentence for sentence in sentences if sentence not in shared]
    for path in _all_files(store):
        for sentence in own:
            if _holds(path, json.dumps(sentence, ensure_ascii=False).encode()[1:-1]):
                detail = f"{path} still holds {sentence[:60]!r}: {_CLEAR}"
                return Check(name="absent: sentences", ok=False, detail=detail)
    detail = f"none of its {len(own):,} sentences in any file"
    if shared:
        also = sorted(set(shared.values()))
        detail += f"; {len(shared):,} more stand in other documents that remain ({', '.join(also[:3])})"
    return Check(name="absent: sentences", ok=True, detail=detail)


def _vectors_absent(load_embedder: Callable[[], Embedder], generation: Generation, documents: list[Document]) -> Check:
    """No stored vector is that of a passage of the documents, unless another document has it too."""
    from rag_ft.indexing.chunking import Chunker, ChunkingConfig, passage_text

    name = "absent: vectors"
    try:
        embedder = load_embedder()
        chunker = Chunker(ChunkingConfig.model_validate(generation.manifest.chunking), embedder.count_tokens)
        passages: list[Passage] = [passage for document in documents for passage in chunker.passages(document)]
        kept_texts = set(passage_texts(generation.folder / PASSAGES, generation.table))
        texts = [text for text in map(passage_text, passages) if text not in kept_texts]
        found = generation.vectors.search(embedder.encode_passages(texts), 1) if texts else []
    except RagFtError as error:
        return Check(name=name, ok=False, detail=str(error))
    for text, ranking in zip(texts, found, strict=True):
        if ranking and ranking[0].score > 0.99999:
            detail = f"row {ranking[0].row} has the vector of {text[:60]!r}"
            return Check(name=name, ok=False, detail=detail)
    return Check(
        name=name,
        ok=True,
        detail=f"none of its {len(texts):,} passages, embedded again, has its vector stored",
    )


def _all_files(store: IndexStore) -> Iterator[Path]:
    return (path for path in sorted(store.path.rglob("*")) if path.is_file() and path.name != LOCK)


def _holds(path: Path, needle: bytes) -> bool:
    """Whether a file holds some bytes; read in blocks that overlap."""
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_BLOCK):
            if needle in tail + block:
                return True
            tail = (tail + block)[-len(needle) + 1 :] if len(needle) > 1 else b""
    return False
