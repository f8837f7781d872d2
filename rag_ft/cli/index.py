"""`rag-ft index`: build, add, remove, info, verify."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_ft.cli.options import EmbedderName, IndexEmbedder, Json, Where, parse_where
from rag_ft.cli.terminal import echo_json

if TYPE_CHECKING:
    from collections.abc import Collection

    from rag_ft.indexing.chunking import ChunkingConfig
    from rag_ft.indexing.formats import ReadLimits
    from rag_ft.indexing.index import Index
    from rag_ft.indexing.storage.manifest import BuildReport

index_app = typer.Typer(help="Build and maintain an index.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder of the index.", show_default=False)]


ReadSeconds = Annotated[float | None, typer.Option(help="Most seconds to read one file.", show_default="60")]
ReadMemory = Annotated[int | None, typer.Option(help="Most megabytes to read one file.", show_default="2048")]
MaxChars = Annotated[int | None, typer.Option(help="Most characters of one document.", show_default="50,000,000")]


class KindChoice(str, Enum):
    """FAISS index kinds."""

    auto = "auto"
    flat = "flat"
    hnsw = "hnsw"
    ivf_pq = "ivf-pq"


@index_app.command()
def build(
    source: Annotated[Path, typer.Argument(help="Folder or file with documents.", show_default=False)],
    index: Folder,
    kind: Annotated[KindChoice, typer.Option(help="flat is exact; auto chooses by size.")] = KindChoice.auto,
    max_tokens: Annotated[int | None, typer.Option(help="Maximum tokens per passage, title included.")] = None,
    embedder: EmbedderName = "default",
    read_seconds: ReadSeconds = None,
    read_memory: ReadMemory = None,
    max_chars: MaxChars = None,
    as_json: Json = False,
) -> int:
    """Make an index of documents, or bring it up to date: all are read, and only what changed is embedded.

    Example: rag-ft index build docs/ indexes/docs
    """
    from rag_ft.indexing.chunking import ChunkingConfig
    from rag_ft.indexing.index import Index

    chunking = ChunkingConfig() if max_tokens is None else _chunking(max_tokens)
    limits = _limits(read_seconds, read_memory, max_chars)
    made = Index.build(source, index, embedder=embedder, chunking=chunking, kind=kind.value, limits=limits)
    assert made.build_report is not None
    return _report(made, made.build_report, as_json)


@index_app.command()
def add(
    source: Annotated[Path, typer.Argument(help="Folder or file with documents.", show_default=False)],
    index: Folder,
    read_seconds: ReadSeconds = None,
    read_memory: ReadMemory = None,
    max_chars: MaxChars = None,
    embedder: IndexEmbedder = None,
    as_json: Json = False,
) -> int:
    """Add documents to an index; a document with an existing id replaces it."""
    from rag_ft.cli.render import stderr
    from rag_ft.indexing.index import Index

    found = Index.load(index, embedder=embedder)
    report = found.add(source, limits=_limits(read_seconds, read_memory, max_chars))
    if not as_json:
        for copies in _from_one_file(found, {*report.added, *report.changed}):
            stderr().print(f"from one file: {', '.join(copies)}; 'rag-ft index remove' takes one out", style="yellow")
    return _report(found, report, as_json)


@index_app.command()
def remove(
    index: Folder,
    document: Annotated[
        list[str] | None, typer.Argument(help="Ids of documents ('rag-ft index info --documents').")
    ] = None,
    where: Where = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed.")] = False,
    adapters: Annotated[
        Path, typer.Option(help="Folder of adapters: those that were trained on a removed document are named.")
    ] = Path("adapters"),
    as_json: Json = False,
) -> None:
    """Erase documents: vectors, passages, words and texts. `verify --absent` proves it afterwards."""
    import json

    from rag_ft.cli.render import stdout
    from rag_ft.errors import UsageError
    from rag_ft.indexing.index import Index
    from rag_ft.models.adapter_record import adapters_trained_on

    found = Index.load(index)
    chosen: Any = (document or None, parse_where(where))
    try:
        going = found.remove(*chosen, dry_run=True).documents
    except UsageError:
        if not dry_run:
            found.remove(*chosen)  # what a removal left that was ended goes, and it says the same
        raise
    prints = [found.document_fingerprint(name) for name in going]
    files = {one.id: one.source for one in found.entries() if one.id in going and Path(one.source).is_file()}
    report = found.remove(*chosen, dry_run=dry_run)
    trained = adapters_trained_on(adapters, prints)
    if as_json:
        content = {**report.model_dump(mode="json"), "trained_adapters": [str(one) for one in trained]}
        echo_json(json.dumps(content))
        return
    verb = "would be removed" if dry_run else "removed"
    console = stdout()
    for name in report.documents:
        console.print(f"{name} {verb}")
    console.print(
        f"{len(report.documents)} documents with {report.passages} passages {verb},"
        f" {report.remaining_documents} documents {'would remain' if dry_run else 'remain'}"
    )
    for name, source in files.items():
        console.print(
            f"{name}: its file is still at {source}, and a build from there takes it in again", style="yellow"
        )
    for one in trained:
        console.print(
            f"{one} was trained on what {'would go' if dry_run else 'went'} and may recite it: train it again without",
            style="yellow",
        )


@index_app.command()
def info(
    index: Folder,
    documents: Annotated[bool, typer.Option("--documents", help="List the ids of all documents.")] = False,
    as_json: Json = False,
) -> None:
    """Show what an index holds and what it was made with."""
    import json

    from rag_ft.cli.render import stdout
    from rag_ft.indexing.index import Index

    found = Index.load(index)
    manifest = found.manifest
    if as_json:
        content = manifest.model_dump(mode="json")
        echo_json(json.dumps({**content, "documents": list(found.documents())} if documents else content))
        return
    console = stdout()
    console.print(
        f"{manifest.counts.documents} documents, {manifest.counts.passages} passages, written {manifest.created}"
    )
    console.print(f"embedder     {manifest.embedder.name}, {manifest.embedder.dimension} dimensions, {manifest.metric}")
    console.print(
        f"kind         {manifest.kind} ({manifest.kind_choice}), recall@10 {manifest.recall_at_10:.3f} of exact search"
    )
    console.print(f"chunking     {', '.join(f'{key} {value}' for key, value in manifest.chunking.items())}")
    console.print(f"access       {_access(found)}")
    console.print(f"fingerprint  {manifest.fingerprint}")
    console.print(f"format       {manifest.format}; {', '.join(f'{k} {v}' for k, v in manifest.versions.items())}")
    if documents:
        for name in found.documents():
            console.print(name)


@index_app.command()
def verify(
    index: Folder,
    absent: Annotated[
        str | None, typer.Option(help="Also prove that this document is gone: its id, or the path of the original.")
    ] = None,
    embedder: IndexEmbedder = None,
    as_json: Json = False,
) -> int:
    """Read every byte of an index and compare it with the manifest; exit status 1 if anything is wrong."""
    from rag_ft.cli.render import stdout
    from rag_ft.indexing.index import Index

    report = Index.load(index, embedder=embedder, verify="full").verify(absent=absent)
    if as_json:
        echo_json(report.model_dump_json())
        return 0 if report.ok else 1
    console = stdout()
    for check in report.checks:
        console.print("ok    " if check.ok else "FAILED", style="green" if check.ok else "red", end=" ")
        console.print(f"{check.name}: {check.detail}")
    return 0 if report.ok else 1


def _limits(seconds: float | None, megabytes: int | None, max_chars: int | None) -> ReadLimits:
    from rag_ft.indexing.formats import ReadLimits

    given: dict[str, Any] = {
        "seconds": seconds,
        "memory_bytes": None if megabytes is None else megabytes * 1_000_000,
        "max_chars": max_chars,
    }
    return replace(ReadLimits(), **{name: value for name, value in given.items() if value is not None})


def _access(index: Index) -> str:
    """How many documents say who may read them, by group."""
    from collections import Counter

    from rag_ft.errors import UsageError
    from rag_ft.indexing.access import label_of

    groups: Counter[str] = Counter()
    unlabelled = nobody = 0
    for entry in index.entries():
        try:
            label = label_of(entry.metadata)
        except UsageError:  # indexed before labels were checked
            label = ()
        unlabelled += label is None
        nobody += label == ()
        groups.update(label or ())
    named = [f"{count} {name}" for name, count in sorted(groups.items())]
    return ", ".join([f"{unlabelled} documents for everyone", *named, *([f"{nobody} for nobody"] if nobody else [])])


def _chunking(max_tokens: int) -> ChunkingConfig:
    from pydantic import ValidationError

    from rag_ft.errors import UsageError
    from rag_ft.indexing.chunking import ChunkingConfig

    try:
        return ChunkingConfig(max_tokens=max_tokens)
    except ValidationError as error:
        raise UsageError(f"--max-tokens is {max_tokens}: {error.errors()[0]['msg']}") from error


_NAMED = 5
"""Documents that a build names; of more it gives the number."""

_MANY_IN_ONE = (".json", ".jsonl")
"""Files that hold many documents."""


def _from_one_file(index: Index, new: Collection[str]) -> list[list[str]]:
    """Ids of documents that were read from the same file as a new one, which is among them."""
    names = {Path(one.source).name for one in index.entries() if one.id in new}
    places: dict[Path, list[str]] = {}
    for one in index.entries():
        path = Path(one.source)
        if path.name in names and path.suffix not in _MANY_IN_ONE and path.is_file():
            places.setdefault(path.resolve(), []).append(one.id)
    return [ids for ids in places.values() if len(ids) > 1 and any(name in new for name in ids)]


def _report(index: Index, report: BuildReport, as_json: bool) -> int:
    from rag_ft.cli.render import print_failures, stderr, stdout

    if as_json:
        echo_json(report.model_dump_json())
    else:
        stdout().print(
            f"{index.path}: {index.manifest.counts.documents} documents, {len(index)} passages"
            f" ({len(report.added)} added, {len(report.changed)} changed, {len(report.removed)} removed,"
            f" {report.unchanged} unchanged; {report.passages_embedded} passages embedded) in {report.seconds:.1f} s"
        )
        for word, names in (("added", report.added), ("changed", report.changed), ("removed", report.removed)):
            if 0 < len(names) <= _NAMED:
                stderr().print(f"{word}: {', '.join(names)}", style="dim")
        print_failures(report, stderr())
        if report.skipped:
            stderr().print(f"left out: {len(report.skipped)} files of other kinds, hidden or read already", style="dim")
    return 1 if report.failures else 0
