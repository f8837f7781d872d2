"""Small documents and indexes of them, for tests of building, changing and copying."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from fakes import HashingEmbedder

from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.indexing.shards.changing import add_shards
from rag_ft.indexing.storage.folder import content_checksum
from rag_ft.indexing.storage.lines import json_line
from rag_ft.schema import Document

CHUNKING = ChunkingConfig(max_tokens=24)


TOPICS = ["billing", "security", "holidays", "servers", "coffee", "parking"]


def document(name: str, version: int = 0, **metadata: object) -> Document:
    topic = TOPICS[sum(name.encode()) % len(TOPICS)]
    text = "\n\n".join(
        f"Paragraph {part} of {name} speaks of {topic} in version {version}. Rule {part} holds for {name}."
        for part in range(4)
    )
    return Document(id=name, text=text, title=f"About {topic}", source=f"/docs/{name}", metadata=metadata)


def build(documents: list[Document], path: Path, embedder: HashingEmbedder | None = None, **options) -> Index:
    embedder = embedder or HashingEmbedder()
    return Index.build(documents, path, embedder=embedder, chunking=CHUNKING, progress=False, **options)


def split(documents: list[Document], folder: Path, shards: int = 2, **options) -> list[Path]:
    """Build an index of every n-th document, for each n; returns their folders."""
    parts = [documents[number::shards] for number in range(shards)]
    paths = [folder / f"shard{number}" for number, part in enumerate(parts) if part]
    for path, part in zip(paths, parts, strict=False):
        Index.build(part, path, **{"embedder": HashingEmbedder(), "progress": False, **options})
    return paths


def sharded(documents: list[Document], folder: Path, shards: int = 2, **options) -> Index:
    """An index of the documents in several shards, loaded."""
    add_shards(folder, split(documents, folder, shards, **options))
    return Index.load(folder, embedder=options.get("embedder") or HashingEmbedder())


DOCUMENTS = [document(f"{name}.md", team="ops" if name in "abc" else "web") for name in "abcdef"]


def rankings(index: Index) -> list[list[tuple[str, float]]]:
    queries = ["rule 2 for billing", "version 0 of c.md", "coffee paragraph 3", "security"]
    hits = [index.search(query, 7, mode=mode) for mode in ("dense", "bm25") for query in queries]
    return [[(hit.passage.id, hit.score) for hit in ranking] for ranking in hits]


def same(one: Index, other: Index) -> None:
    assert [*one.passages()] == [*other.passages()]
    assert [*one.documents()] == [*other.documents()]
    assert one.fingerprint == other.fingerprint
    assert rankings(one) == rankings(other)


def lines(*records: object) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in records)


def as_format_1(path: Path) -> None:
    """Rewrite an index as version 1 of the format had it: no document says which file it came from."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    table = path / "generations" / manifest["generation"] / "table.jsonl"
    rows = [json.loads(line) for line in table.read_bytes().splitlines()]
    table.write_bytes(b"".join(json_line({key: row[key] for key in row if key != "file"}) for row in rows))
    data = table.read_bytes()
    manifest["files"]["table.jsonl"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["format"] = 1
    manifest["checksum"] = content_checksum(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
