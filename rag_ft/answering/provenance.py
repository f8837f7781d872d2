"""From an answer back to bytes: each fingerprint that it names is compared with what is on disk now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rag_ft.errors import RagFtError
from rag_ft.schema import Answer, Citation


class Link(NamedTuple):
    """A step of the chain."""

    name: str
    ok: bool | None
    """Whether it is unchanged; None where that could not be checked."""
    detail: str


def trace(
    answer: Answer,
    *,
    index_path: str | Path | None = None,
    reader: str | None = None,
    groups: Sequence[str] | None = None,
) -> list[Link]:
    """The chain of an answer: citations, documents, index, embedder, reader, prompt.

    `index_path`: where the index is now, if it has moved. `reader`: a base model to compare with; without one the
    answer's is only named. `groups`: the groups that the answer was given for, if it was given for some.
    """
    from rag_ft.indexing.index import Index

    provenance = answer.provenance
    links: list[Link] = []
    where = str(index_path or provenance.index_path)
    index: Index | None = None
    if not where:
        links.append(Link("index", None, "the passages were given by hand, not by an index"))
    else:
        try:
            index = Index.load(where)
            if groups is not None:
                index = index.visible_to(groups)
        except RagFtError as error:
            links.append(Link("index", False, str(error)))
        else:
            same = index.fingerprint == provenance.index
            now = (
                "is the one that answered"
                if same
                else f"now has the fingerprint {index.fingerprint[:12]}: it has changed since, or answered for other"
                " groups (--groups)"
            )
            links.append(Link("index", same, f"{where}, {provenance.index[:12]}, {now}"))
            embedder = index.manifest.embedder
            same = embedder.fingerprint == provenance.embedder
            links.append(Link("embedder", same, f"{embedder.name}, {provenance.embedder[:12]}"))
    for i, citation in enumerate((answer.declined or answer).citations, start=1):
        links.extend(_citation_links(f"citation {i}", citation, index))
    links.append(_reader_link(answer, reader))
    adapter = provenance.adapter[:12] if provenance.adapter else "none"
    links.append(Link("adapter", None, adapter))
    if provenance.cross_encoder is not None:
        links.append(Link("cross-encoder", None, provenance.cross_encoder[:12]))
    links.append(
        Link("prompt", None, f"{provenance.prompt[:12]}, mode {provenance.mode}, {provenance.reading} reading")
    )
    return links


def _citation_links(name: str, citation: Citation, index: object) -> list[Link]:
    from rag_ft.indexing.index import Index

    links: list[Link] = []
    if isinstance(index, Index):
        try:
            text = index.document(citation.document_id).text
        except RagFtError as error:
            links.append(Link(name, False, str(error)))
        else:
            same = text[citation.start : citation.end] == citation.quote
            span = f"{citation.document_id}, characters {citation.start}-{citation.end}"
            links.append(
                Link(name, same, f"{span}: {'the quote stands there' if same else 'another text stands there'}")
            )
            links.append(_source_link(f"{name}, source", citation, index.document_fingerprint(citation.document_id)))
    else:
        links.append(Link(name, None, f"{citation.document_id}, characters {citation.start}-{citation.end}"))
    return links


def _source_link(name: str, citation: Citation, indexed: str) -> Link:
    """Whether the source file is still what was indexed."""
    from rag_ft.indexing.corpus import document_fingerprint, read_corpus

    path = Path(citation.source)
    if not path.is_file():
        return Link(name, None, f"{citation.source or 'the source'} is not a file here")
    document = next(iter(read_corpus(path)), None)
    if document is None:
        return Link(name, False, f"{path} can no longer be read")
    # Read alone, a file of a folder has its bare name as its id; the text is what the quote stands in.
    same = document_fingerprint(document.model_copy(update={"id": citation.document_id})) == indexed
    if not same:
        same = document.text[citation.start : citation.end] == citation.quote
        state = (
            "has changed since, but the quote stands where it stood" if same else "has changed since: rebuild the index"
        )
        return Link(name, same, f"{path} {state}")
    return Link(name, True, f"{path} is what was indexed")


def _reader_link(answer: Answer, reader: str | None) -> Link:
    from rag_ft.models.weights import resolve_reader

    fingerprint = answer.provenance.base_model
    if reader is None:
        return Link("reader", None, f"base model {fingerprint[:12]}")
    weights = resolve_reader(reader)
    return Link("reader", weights.fingerprint == fingerprint, f"{weights.name} at {weights.path}, {fingerprint[:12]}")
