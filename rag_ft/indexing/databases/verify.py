"""Checks that an index in a database is what its settings say, and that a document is no longer in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from rag_ft.errors import RagFtError
from rag_ft.indexing.building.sentinels import check_sentinels
from rag_ft.indexing.chunking import passage_text
from rag_ft.indexing.corpus import document_fingerprint
from rag_ft.indexing.databases.changes import read_state
from rag_ft.indexing.databases.generation import DatabaseGeneration
from rag_ft.indexing.databases.store import DatabaseStore
from rag_ft.indexing.storage.journal import passage_key
from rag_ft.indexing.storage.manifest import Check, VerifyReport
from rag_ft.indexing.verify import documents_at, no_namesake, sentences_of, vectors_absent
from rag_ft.schema import Document

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder


def verify_database(store: DatabaseStore, embedder: Callable[[], Embedder], absent: str | None) -> VerifyReport:
    """Check an index in a database as it is now; `embedder` loads its embedder, or raises.

    `absent`: also search for what is left of a document.
    """
    checks: list[Check] = []
    try:
        session = store.session()
    except RagFtError as error:
        return _report([Check(name="database", ok=False, detail=str(error))])
    try:
        state = read_state(session, store).within(session)
        checks.append(
            Check(name="database", ok=True, detail=f"{store.address} holds an index of format {state.settings.format}")
        )
        checks += _content(state)
        try:
            check_sentinels(state, embedder(), store.address)
            name = state.manifest.embedder.name
            checks.append(
                Check(name="embedder", ok=True, detail=f"{name} gives the same vectors for sentinel passages")
            )
        except RagFtError as error:
            checks.append(Check(name="embedder", ok=False, detail=str(error)))
        if absent is not None:
            checks += _absent(store, state, embedder, absent)
    except RagFtError as error:
        checks.append(Check(name="database", ok=False, detail=str(error)))
    finally:
        session.close()
    return _report(checks)


def _report(checks: list[Check]) -> VerifyReport:
    return VerifyReport(ok=all(check.ok for check in checks), checks=tuple(checks))


def _content(state: DatabaseGeneration) -> Iterator[Check]:
    """Compare every passage with its document, and every vector with its passage."""
    counts = state.manifest.counts
    with state.reading() as session:
        stored = session.keys()
    rows = state.rows_of(stored.rows)
    whole = sorted(rows.tolist()) == list(range(len(state)))
    expected = f"{counts.passages:,} passages of {counts.documents:,} documents"
    yield Check(
        name="counts",
        ok=whole,
        detail=expected if whole else f"the list of documents says {expected}, the passages are others",
    )
    if not whole:
        return
    keys = dict(zip(rows.tolist(), stored.keys, strict=True))
    wrong = ""
    for position, row in enumerate(state.table):
        document = state.document(position)
        first, end = int(state.firsts[position]), int(state.firsts[position + 1])
        span = np.arange(first, end, dtype=np.int64)
        if document_fingerprint(document) != row.fingerprint:
            wrong = f"the content of document {row.id!r} does not match its fingerprint"
        elif end > first and not np.all(np.abs(np.linalg.norm(state.fetched[span], axis=1) - 1) < 1e-3):
            wrong = f"a vector of document {row.id!r} does not have length 1"
        for number, passage in zip(range(first, end), state.passages_at(span), strict=True):
            if passage.text != document.text[passage.start : passage.end]:
                wrong = f"passage {passage.id} is not the text of its document at these offsets"
            elif passage_key(passage_text(passage, state.manifest.rules)) != keys[number]:
                wrong = f"the vector of passage {passage.id} belongs to another text"
        if wrong:
            break
    right = "every document has its fingerprint, every passage its document's text, every vector its passage's key"
    yield Check(name="passages", ok=not wrong, detail=wrong or right)


def _absent(
    store: DatabaseStore, state: DatabaseGeneration, embedder: Callable[[], Embedder], absent: str
) -> Iterator[Check]:
    """Search for a document: by id always, by sentences and vectors if its file is available."""
    documents, reason = documents_at(absent)
    names = {absent, *(document.id for document in documents)}
    for row in state.table:
        if names & {row.id, row.source, row.file}:
            yield Check(
                name="absent: records", ok=False, detail=f"{row.id!r} is a document, with {row.passages} passages"
            )
            return
    yield Check(
        name="absent: records",
        ok=True,
        detail=f"no document, passage, vector or word of {' and '.join(map(repr, sorted(names)))}",
    )
    rows, left = store.search_text(sorted(names), ())
    yield Check(
        name="absent: rows",
        ok=left is None,
        detail=f"{left.where} still holds {left.what[:60]}"
        if left is not None
        else f"not named in any of {rows:,} rows; {store.unsearched()}",
    )
    if documents:
        yield from _texts_absent(store, state, embedder, documents)
        return
    yield Check(name="absent: sentences", ok=True, detail=f"not searched: {reason}")
    yield no_namesake(state, absent)


def _texts_absent(
    store: DatabaseStore, state: DatabaseGeneration, embedder: Callable[[], Embedder], documents: list[Document]
) -> Iterator[Check]:
    sentences = sentences_of(documents)
    shared: set[str] = set()
    for position, row in enumerate(state.table):
        text = state.document(position).text
        present = {sentence for sentence in sentences if sentence in text}
        if present and 2 * len(present) >= len(sentences):
            detail = f"{len(present)} of its {len(sentences)} sentences are in the document {row.id!r}: remove that too"
            yield Check(name="absent: sentences", ok=False, detail=detail)
            return
        shared |= present
    unique = [sentence for sentence in sentences if sentence not in shared]
    rows, left = store.search_text((), unique)
    detail = f"none of its {len(unique):,} sentences in any of {rows:,} rows"
    if shared:
        detail += f"; {len(shared):,} more are in other documents that remain"
    yield Check(
        name="absent: sentences",
        ok=left is None,
        detail=detail if left is None else f"{left.where} still holds {left.what[:60]!r}",
    )
    texts = {passage_text(passage, state.manifest.rules) for passage in state.passages_at(np.arange(len(state)))}
    yield vectors_absent(embedder, state, documents, texts)
