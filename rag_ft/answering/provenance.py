"""From an answer back to bytes: each fingerprint that it names is compared with what is there now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rag_ft.errors import RagFtError
from rag_ft.schema import Answer, Citation


class Link(NamedTuple):
    """One step of the chain."""

    name: str
    ok: bool | None
    """None where it could not be checked."""
    detail: str


def trace(
    answer: Answer,
    *,
    index_path: str | Path | None = None,
    reader: str | None = None,
    groups: Sequence[str] | None = None,
) -> list[Link]:
    """The chain of an answer: citations, documents, index, embedder, reader, prompt.

    `index_path` where the index has moved; `reader` names the base model, which is then compared too (None: the one
    that the answer was given with is only named); `groups` where only what they may read was answered from.
    """
    from rag_ft.indexing.index import Index

    made = answer.provenance
    links: list[Link] = []
    where = str(index_path or made.index_path)
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
            same = index.fingerprint == made.index
            now = (
                "is the one that answered"
                if same
                else f"now has the fingerprint {index.fingerprint[:12]}: it was changed since, or answered for other"
                " groups (--groups)"
            )
            links.append(Link("index", same, f"{where}, {made.index[:12]}, {now}"))
            embedder = index.manifest.embedder
            same = embedder.fingerprint == made.embedder
            links.append(Link("embedder", same, f"{embedder.name}, {made.embedder[:12]}"))
    for number, citation in enumerate(answer.citations, start=1):
        links.extend(_citation_links(f"citation {number}", citation, index))
    links.append(_reader_link(answer, reader))
    adapter = made.adapter[:12] if made.adapter else "none"
    links.append(Link("adapter", None, adapter))
    links.append(Link("prompt", None, f"{made.prompt[:12]}, mode {made.mode}, {made.reading} reading"))
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
            place = f"{citation.document_id}, characters {citation.start}-{citation.end}"
            links.append(
                Link(name, same, f"{place}: {'the quote stands there' if same else 'another text stands there'}")
            )
            links.append(_source_link(f"{name}, source", citation, index.document_fingerprint(citation.document_id)))
    else:
        links.append(Link(name, None, f"{citation.document_id}, characters {citation.start}-{citation.end}"))
    return links


def _source_link(name: str, citation: Citation, indexed: str) -> Link:
    """The file itself: is it still what was indexed?"""
    from rag_ft.indexing.corpus import document_fingerprint, read_corpus

    path = Path(citation.source)
    if not path.is_file():
        return Link(name, None, f"{citation.source or 'no source'} is no file here")
    document = next((one for one in read_corpus(path)), None)
    if document is None:
        return Link(name, False, f"{path} cannot be read any more")
    # Read alone, a file of a folder has its bare name as its id; the text is what the quote stands in.
    same = document_fingerprint(document.model_copy(update={"id": citation.document_id})) == indexed
    if not same:
        same = document.text[citation.start : citation.end] == citation.quote
        state = (
            "was changed since, but the quote stands where it stood" if same else "was changed since: rebuild the index"
        )
        return Link(name, same, f"{path} {state}")
    return Link(name, True, f"{path} is what was indexed")


def _reader_link(answer: Answer, reader: str | None) -> Link:
    from rag_ft.models.weights import resolve_reader

    made = answer.provenance.base_model
    if reader is None:
        return Link("reader", None, f"base model {made[:12]}")
    weights = resolve_reader(reader)
    return Link("reader", weights.fingerprint == made, f"{weights.name} at {weights.path}, {made[:12]}")
