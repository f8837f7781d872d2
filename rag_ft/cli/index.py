"""`rag-ft index`: build, watch, add, remove, info, verify, shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_ft.cli.building import BuildOptions, IndexFolder, PlacedBuildOptions, ReadOptions, SourceArgument, with_options
from rag_ft.cli.options import IndexEmbedderOption, JsonOption, PollOption, WhereOption, parse_where
from rag_ft.cli.shards import shards_app
from rag_ft.cli.terminal import echo_json

if TYPE_CHECKING:
    from collections.abc import Collection

    from rag_ft.indexing.index import Index
    from rag_ft.indexing.storage.manifest import BuildReport

index_app = typer.Typer(help="Build and maintain an index.", no_args_is_help=True)
index_app.add_typer(shards_app, name="shards")


@index_app.command("build")
@with_options(PlacedBuildOptions)
def index_build(
    source: SourceArgument,
    index: IndexFolder,
    as_json: JsonOption = False,
    *,
    options: PlacedBuildOptions,
) -> int:
    """Build an index from documents, or update it: every document is read, and only what changed is embedded.

    Example:
    rag-ft index build docs/ indexes/docs
    """
    options.check()
    built = options.build(source, index)
    assert built.build_report is not None
    return _report(built, built.build_report, as_json, options)


@index_app.command("watch")
@with_options(BuildOptions)
def index_watch(
    folder: Annotated[Path, typer.Argument(help="Folder with documents.", show_default=False)],
    index: IndexFolder,
    poll: PollOption = False,
    as_json: JsonOption = False,
    *,
    options: BuildOptions,
) -> int:
    """Keep an index equal to a folder: build it now, and again within seconds of each change, until Ctrl-C.

    Only files that changed are read. Files that are still being written are waited for. Stopping it at any moment
    loses nothing.

    Example:
    rag-ft index watch docs/ indexes/docs
    """
    from rag_ft.cli.watch import watch_folder

    return watch_folder(folder, index, options, poll=poll, as_json=as_json)


@index_app.command("add")
@with_options(ReadOptions)
def index_add(
    source: SourceArgument,
    index: IndexFolder,
    embedder: IndexEmbedderOption = None,
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> int:
    """Add documents to an index; a document replaces an existing one with the same id."""
    from rag_ft.cli.render import stderr
    from rag_ft.indexing.index import Index

    loaded = Index.load(index, embedder=embedder)
    report = loaded.add(
        source,
        limits=options.limits(),
        keep_originals=options.keep_originals,
        source_code=options.source_code,
        ocr=options.ocr_settings(),
    )
    if not as_json:
        for copies in _from_one_file(loaded, {*report.added, *report.changed}):
            stderr().print(
                f"indexed more than once from one file: {', '.join(copies)} ('rag-ft index remove' removes one)",
                style="yellow",
            )
    return _report(loaded, report, as_json, options)


@index_app.command("remove")
def index_remove(
    index: IndexFolder,
    document: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of documents ('rag-ft index info --documents' lists them).", show_default=False),
    ] = None,
    where: WhereOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed.")] = False,
    adapters: Annotated[
        Path, typer.Option(help="Folder of adapters: warn about those that were trained on a removed document.")
    ] = Path("adapters"),
    as_json: JsonOption = False,
) -> None:
    """Erase documents: vectors, passages, words and texts. 'rag-ft index verify --absent' proves it afterwards."""
    import json

    from rag_ft.cli.render import stdout
    from rag_ft.errors import UsageError
    from rag_ft.indexing.index import Index
    from rag_ft.models.adapter_record import adapters_trained_on

    loaded = Index.load(index)
    chosen: Any = (document or None, parse_where(where))
    try:
        removed = loaded.remove(*chosen, dry_run=True).documents
    except UsageError:
        if not dry_run:
            loaded.remove(*chosen)  # clears what an interrupted removal left behind, and raises the same error
        raise
    fingerprints = [loaded.document_fingerprint(name) for name in removed]
    files = {
        entry.id: entry.source for entry in loaded.entries() if entry.id in removed and Path(entry.source).is_file()
    }
    report = loaded.remove(*chosen, dry_run=dry_run)
    trained = adapters_trained_on(adapters, fingerprints)
    if as_json:
        content = {**report.model_dump(mode="json"), "trained_adapters": [str(folder) for folder in trained]}
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
    if report.feedback:
        console.print(f"{report.feedback:,} feedback records about them {verb}")
    for name, source in files.items():
        console.print(
            f"{name}: its file is still at {source}, and building from there would index it again", style="yellow"
        )
    for folder in trained:
        console.print(
            f"{folder} was trained on a document that {verb if dry_run else 'was removed'} and may recite it: train it"
            " again without that document",
            style="yellow",
        )


@index_app.command("info")
def index_info(
    index: IndexFolder,
    documents: Annotated[
        bool, typer.Option("--documents", help="Also list all documents, and what was lost of each.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what an index holds and how it was built."""
    import json

    from rag_ft.cli.render import print_document, stdout
    from rag_ft.indexing.chunking import CHUNKING_RULES
    from rag_ft.indexing.index import Index

    loaded = Index.load(index)
    manifest = loaded.manifest
    if as_json:
        content = manifest.model_dump(mode="json")
        if documents:
            content["documents"] = list(loaded.documents())
            content["conservation"] = {
                entry.id: entry.conservation.model_dump(mode="json")
                for entry in loaded.entries()
                if entry.conservation is not None
            }
        echo_json(json.dumps(content))
        return
    console = stdout()
    console.print(
        f"{manifest.counts.documents} documents, {manifest.counts.passages} passages, written {manifest.created}"
    )
    console.print(f"embedder     {manifest.embedder.name}, {manifest.embedder.dimension} dimensions, {manifest.metric}")
    console.print(f"computed by  {', '.join(name or 'not stated' for name in manifest.embedder.arithmetic)}")
    console.print(
        f"kind         {manifest.kind} ({manifest.kind_choice}), recall@10 {manifest.recall_at_10:.3f} of exact search"
    )
    console.print(f"chunking     {', '.join(f'{key} {value}' for key, value in manifest.chunking.items())}")
    if manifest.rules < CHUNKING_RULES:
        console.print(
            f"rules        {manifest.rules} for passages and words, and this version's are {CHUNKING_RULES}:"
            " 'rag-ft index build' makes the index again"
        )
    console.print(f"access       {_access(loaded)}")
    if originals := sum(bool(entry.original) for entry in loaded.entries()):
        console.print(f"originals    of {originals:,} documents are kept")
    for sentence in loaded.incomplete:
        console.print(f"incomplete   {sentence}", style="yellow")
    console.print(f"fingerprint  {manifest.fingerprint}")
    console.print(f"format       {manifest.format}; {', '.join(f'{k} {v}' for k, v in manifest.versions.items())}")
    if documents:
        for entry in loaded.entries():
            print_document(entry.id, entry.conservation, console)


@index_app.command("verify")
def index_verify(
    index: IndexFolder,
    absent: Annotated[
        str | None,
        typer.Option(
            help="Also prove that this document is gone: its id, or the path of the original file.", show_default=False
        ),
    ] = None,
    embedder: IndexEmbedderOption = None,
    as_json: JsonOption = False,
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


def _access(index: Index) -> str:
    """Number of documents that each group may read, in words."""
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


_MOST_NAMED = 5
"""A build names at most this many documents; beyond that it prints only the count."""

_MANY_IN_ONE = (".json", ".jsonl")
"""Files that hold many documents."""


def _from_one_file(index: Index, new: Collection[str]) -> list[list[str]]:
    """Ids of documents read from the same file, for each file that a new document came from more than once."""
    names = {Path(entry.source).name for entry in index.entries() if entry.id in new}
    ids_by_file: dict[Path, list[str]] = {}
    for entry in index.entries():
        path = Path(entry.source)
        if path.name in names and path.suffix not in _MANY_IN_ONE and path.is_file():
            ids_by_file.setdefault(path.resolve(), []).append(entry.id)
    return [ids for ids in ids_by_file.values() if len(ids) > 1 and any(name in new for name in ids)]


def _report(index: Index, report: BuildReport, as_json: bool, options: ReadOptions) -> int:
    from rag_ft.cli.render import print_failures, print_losses, print_ocr_hint, stderr, stdout

    if as_json:
        echo_json(report.model_dump_json())
    else:
        stdout().print(
            f"{index.place}: {index.manifest.counts.documents} documents, {len(index)} passages"
            f" ({len(report.added)} added, {len(report.changed)} changed, {len(report.removed)} removed,"
            f" {report.unchanged} unchanged; {report.passages_embedded} passages embedded) in {report.seconds:.1f} s"
        )
        plan = getattr(index.embedder, "plan", None) if report.passages_embedded else None
        if plan is not None:
            stderr().print(f"embedding: {plan.line} ({'; '.join(plan.reasons)})", style="dim")
        for word, names in (("added", report.added), ("changed", report.changed), ("removed", report.removed)):
            if 0 < len(names) <= _MOST_NAMED:
                stderr().print(f"{word}: {', '.join(names)}", style="dim")
        print_failures(report, stderr())
        print_losses(report.losses, stderr(), options.strict)
        if not options.ocr:
            print_ocr_hint(report, stderr())
        if report.skipped:
            code = sum("--source-code" in skipped.reason for skipped in report.skipped)
            hint = f"; source code, which --source-code reads: {code}" if code else ""
            stderr().print(
                f"skipped: {len(report.skipped)} files of other formats, hidden or already read{hint}", style="dim"
            )
    incomplete = bool(report.losses) if options.strict else any(lost.lacks_parts for lost in report.losses.values())
    return 1 if report.failures or incomplete else 0
