"""`rag-ft index watch`: a line for each build, until the process is interrupted or terminated."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rag_ft.cli.terminal import echo_json, printed_lines

if TYPE_CHECKING:
    from rag_ft.cli.building import BuildOptions
    from rag_ft.indexing.sources.known import KnownFiles
    from rag_ft.indexing.storage.manifest import BuildReport

WATCHING = "rag_ft.indexing.watching"
"""Logger of what a watch says."""


def refuse_database(index: Path | None) -> None:
    """Raise UsageError for the address of a database, where a folder is kept equal to another one."""
    from rag_ft.errors import UsageError
    from rag_ft.indexing.databases.address import is_database

    if is_database(index):
        raise UsageError("watching keeps an index folder up to date: for a database run 'rag-ft index build' again")


def watch_folder(folder: Path, index: Path, options: BuildOptions, *, poll: bool, as_json: bool) -> int:
    """Watch a folder and keep an index equal to it. Raises UsageError, CorpusError."""
    from rag_ft.cli.render import print_losses, stderr, stdout
    from rag_ft.indexing.storage.folder import check_may_write
    from rag_ft.indexing.watching.watcher import Stopped, Watcher

    refuse_database(index)
    notes = stderr()

    def build(known: KnownFiles) -> BuildReport:
        built = options.build(folder, index, embedder=embedder, progress=not as_json, known_files=known)
        assert built.build_report is not None
        return built.build_report

    def on_build(report: BuildReport) -> None:
        if as_json:
            echo_json(report.model_dump_json())
            return
        new = {*report.added, *report.changed}
        print_losses({name: lost for name, lost in report.losses.items() if name in new}, notes, options.strict)

    with _ended_by_signals() as on_signal, contextlib.suppress(Stopped):
        watcher = Watcher(folder, index, build, poll=poll, images=options.ocr, on_build=on_build)
        on_signal(watcher.stop)
        options.check()
        check_may_write(index)
        embedder = options.load_embedder()
        if not as_json:
            notes.print(f"watching {folder}: Ctrl-C ends the watch", style="dim")
        print_line = (lambda line: None) if as_json else stdout().print
        with printed_lines(WATCHING, print_line):
            watcher.run()
    return 0


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Within the block, the first Ctrl-C or SIGTERM raises Stopped, and later ones do nothing.

    Gives a function to name what else the first one must call: an exception raised in a callback of a library is lost.
    """
    from rag_ft.indexing.watching.watcher import Stopped

    stops: list[Callable[[], None]] = []
    signalled = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        if not signalled:
            signalled = True
            for stop in stops:
                stop()
            raise Stopped

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stops.append
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
