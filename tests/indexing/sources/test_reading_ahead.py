"""Files read ahead: the same events in the same order as one after another, however many readers there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from fakes import HashingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.errors import CorpusError
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.index import Index
from rag_ft.indexing.sources import reading_ahead
from rag_ft.indexing.sources.events import CorpusEvent, ReadDocument, SkippedFile
from rag_ft.indexing.sources.file import SourceFile
from rag_ft.indexing.sources.original import Original
from rag_ft.indexing.sources.reader import FileReader
from rag_ft.indexing.sources.reading_ahead import ReadersAhead
from rag_ft.indexing.sources.remote import RemoteFile
from rag_ft.schema import Document

SECONDS = 20.0
"""More than anything here takes, if it ends."""


def file(name: str) -> SourceFile:
    return SourceFile(Path(name), name, required=True)


def document(name: str, text: str = "text", original: Original | None = None) -> ReadDocument:
    return ReadDocument(Document(id=name, text=text), name, original=original)


class ScriptedReader:
    """Stands for a reader: gives what a script says, and is released from a wait when it is stopped."""

    def __init__(self, script: Callable[[str, threading.Event], Iterator[CorpusEvent]]) -> None:
        self._script = script
        self._stop = threading.Event()
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True

    def events(self, file):
        return self._script(file.name, self._stop)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self._stop.set()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "this never comes true"
        time.sleep(0.005)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 30), max_size=5), max_size=12),
    slow=st.sets(st.integers(0, 11)),
    failing=st.none() | st.integers(0, 11),
    most=st.integers(1, 4),
    room=st.integers(1, 9_000),
)
def test_events_come_in_the_order_of_the_files_whatever_is_slow_large_or_fails(sizes, slow, failing, most, room):
    def script(name: str, stop: threading.Event) -> Iterator[CorpusEvent]:
        number = int(name)
        for part, size in enumerate(sizes[number]):
            if number in slow:
                time.sleep(0.001)
            yield document(f"{name}/{part}", "x" * size or " ") if part % 2 else SkippedFile(f"{name}/{part}", "why")
        if number == failing:
            raise CorpusError(f"{name} failed")

    expected = [
        f"{number}/{part}"
        for number, parts in enumerate(sizes)
        for part in range(len(parts))
        if failing is None or number <= failing
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading_ahead, "_SIZE_AHEAD", room)
        patched.setattr(reading_ahead, "_WAIT_FOR_READER_SECONDS", 0.0)  # every wait starts a reader
        given, error = [], None
        with ReadersAhead(lambda: ScriptedReader(script), most=most) as readers:
            started = [readers.start(file(str(number))) for number in range(len(sizes))]
            try:
                for events in started:
                    for event in events:
                        given.append(event.document.id if isinstance(event, ReadDocument) else event.source)
            except CorpusError as raised:
                error = str(raised)
    assert given == expected
    assert error == (f"{failing} failed" if failing is not None and failing < len(sizes) else None)


def test_files_are_read_while_the_documents_of_another_are_dealt_with():
    read: list[str] = []

    def script(name: str, stop: threading.Event) -> Iterator[CorpusEvent]:
        yield document(name)
        read.append(name)

    with ReadersAhead(lambda: ScriptedReader(script)) as readers:
        started = [readers.start(file(name)) for name in "abcd"]
        next(started[0])
        until(lambda: read == [*"abcd"])


def test_no_more_waits_to_be_taken_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(reading_ahead, "_SIZE_AHEAD", 25)
    monkeypatch.setattr(reading_ahead, "_SIZE_OF_EVENT", 0)
    given: list[str] = []

    def script(name: str, stop: threading.Event) -> Iterator[CorpusEvent]:
        for part in range(10):
            given.append(f"{name}{part}")
            yield document(f"{name}{part}", "x" * 10)

    with ReadersAhead(lambda: ScriptedReader(script), most=1) as readers:
        started = [readers.start(file(name)) for name in "ab"]
        first = next(started[0])
        until(lambda: len(given) >= 4)  # three have 30 characters, and the fourth waits for room
        time.sleep(0.05)
        assert first.document.id == "a0" and len(given) == 4
        rest = [event.document.id for events in started for event in events]
    assert ["a0", *rest] == [f"{name}{part}" for name in "ab" for part in range(10)]


@pytest.mark.parametrize("metadata", [{}, {"notes": "x" * 50_000}])
def test_short_documents_and_their_metadata_take_room_too(monkeypatch, metadata):
    monkeypatch.setattr(reading_ahead, "_SIZE_AHEAD", 200_000)
    given: list[int] = []

    def script(name: str, stop: threading.Event) -> Iterator[CorpusEvent]:
        for part in range(1_000):
            given.append(part)
            yield ReadDocument(Document(id=f"{part}", text="a", metadata=metadata), name)

    with ReadersAhead(lambda: ScriptedReader(script), most=1) as readers:
        next(readers.start(file("a")))
        time.sleep(0.3)
        assert len(given) <= (4 if metadata else 100) + 1


def test_a_further_reader_that_cannot_start_is_done_without(monkeypatch):
    monkeypatch.setattr(reading_ahead, "_WAIT_FOR_READER_SECONDS", 0.0)
    readers_made: list[ScriptedReader] = []

    class OnlyOne(ScriptedReader):
        def start(self) -> None:
            raise CorpusError("no process can be started")

    def new_reader() -> OnlyOne:
        readers_made.append(OnlyOne(script))
        return readers_made[-1]

    def script(name: str, stop: threading.Event) -> Iterator[CorpusEvent]:
        time.sleep(0.01)
        yield document(name)

    with ReadersAhead(new_reader, most=4) as readers:
        started = [readers.start(file(f"{number}")) for number in range(20)]
        assert [event.document.id for events in started for event in events] == [f"{number}" for number in range(20)]
    assert 2 <= len(readers_made) <= 4


def test_a_reader_that_cannot_be_made_is_an_error_and_no_wait():
    def new_reader() -> ScriptedReader:
        raise MemoryError("no room")

    with ReadersAhead(new_reader) as readers, pytest.raises(MemoryError, match="no room"):
        next(readers.start(file("a")))


def test_a_further_reader_starts_only_when_documents_are_waited_for(monkeypatch):
    monkeypatch.setattr(reading_ahead, "_WAIT_FOR_READER_SECONDS", 0.05)
    readers_made: list[ScriptedReader] = []
    both = threading.Barrier(2, timeout=SECONDS)

    def new_reader() -> ScriptedReader:
        readers_made.append(ScriptedReader(script))
        return readers_made[-1]

    def script(name: str, stop: threading.Event) -> Iterator[CorpusEvent]:
        if name in "ab":
            both.wait()  # only two readers get past this
        yield document(name)

    with ReadersAhead(new_reader, most=2) as readers:
        started = [readers.start(file(name)) for name in "abc"]
        time.sleep(0.2)
        assert len(readers_made) == 1  # nobody waits
        assert [event.document.id for events in started for event in events] == [*"abc"]
    assert len(readers_made) == 2 and all(reader.closed for reader in readers_made)


def test_leaving_ends_readers_that_are_in_the_middle_of_a_file():
    reading = threading.Event()

    def script(name: str, stop: threading.Event) -> Iterator[CorpusEvent]:
        reading.set()
        assert stop.wait(SECONDS), "nobody stopped the reader"
        yield document(name)

    readers_made: list[ScriptedReader] = []

    def new_reader() -> ScriptedReader:
        readers_made.append(ScriptedReader(script))
        return readers_made[-1]

    with ReadersAhead(new_reader) as readers:
        readers.start(file("a"))
        assert reading.wait(SECONDS)
    assert [reader.closed for reader in readers_made] == [True]


def test_a_fetched_file_stays_until_its_document_was_dealt_with(tmp_path):
    """Whoever takes the document may copy the file, which is deleted when reading goes on."""
    fetched = tmp_path / "fetched"

    def script(name: str, stop: threading.Event) -> Iterator[CorpusEvent]:
        fetched.write_text(name)
        yield document(name, original=Original("00", fetched))
        fetched.unlink()
        yield SkippedFile(name, "goes on")

    remote = RemoteFile("memory://", "a", "memory://a", "a", True, True, "1", 1, tmp_path / "a")
    with ReadersAhead(lambda: ScriptedReader(script)) as readers:
        events = readers.start(remote)
        assert isinstance(next(events), ReadDocument)
        time.sleep(0.05)
        assert fetched.read_text() == "a"
        assert isinstance(next(events), SkippedFile) and not fetched.exists()
        assert [*events] == []
    with ReadersAhead(lambda: ScriptedReader(script), hold_fetched=False) as readers:
        events = readers.start(remote)
        assert isinstance(next(events), ReadDocument)
        until(lambda: not fetched.exists())


def test_the_lines_of_a_fetched_file_are_read_ahead(tmp_path):
    """No line is a file that somebody could keep."""
    given: list[int] = []

    def script(name: str, stop: threading.Event) -> Iterator[CorpusEvent]:
        for part in range(10):
            yield document(f"{name}:{part}")
            given.append(part)

    remote = RemoteFile("memory://", "a", "memory://a.jsonl", "a.jsonl", True, True, "1", 1, tmp_path / "a.jsonl")
    with ReadersAhead(lambda: ScriptedReader(script)) as readers:
        next(readers.start(remote))
        until(lambda: len(given) == 10)


def test_a_folder_read_by_several_readers_gives_what_one_gives(tmp_path, monkeypatch):
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(30):
        (docs / f"{number:02}.md").write_text(f"# Title {number}\n\nThe text of file {number}.\n" * (number % 3))
    (docs / "lines.jsonl").write_text("".join(f'{{"text": "Line {number}."}}\n' for number in range(50)))

    def events(most: int) -> list[CorpusEvent]:
        monkeypatch.setattr(reading_ahead, "usable_cores", lambda: most)
        monkeypatch.setattr(reading_ahead, "_WAIT_FOR_READER_SECONDS", 0.0)
        return [*read_corpus(docs).events()]

    assert events(1) == events(4)
    assert len(events(1)) == 80


def test_a_reader_that_is_stopped_ends_its_process_and_reads_nothing_more(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(f'{{"text": "Line {number}."}}\n' for number in range(20_000)))
    source = SourceFile(path, "lines.jsonl", required=True)
    before = {*psutil.Process().children()}
    with FileReader(read_corpus(tmp_path).limits) as reader:
        events = reader.events(source)
        assert isinstance(next(events), ReadDocument)
        started = {*psutil.Process().children()} - before
        assert started
        reader.stop()
        assert len([*events]) < 20_000
        assert "reading was stopped" in next(iter(reader.events(source))).reason
        assert not [process for process in started if process.is_running() and process.status() != "zombie"]


def test_a_corpus_that_is_left_early_leaves_no_thread_and_no_process(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(f"Text {number}.")
    processes, threads = {*psutil.Process().children()}, threading.active_count()
    with closing(read_corpus(tmp_path).events()) as events:
        assert isinstance(next(events), ReadDocument)
    assert {*psutil.Process().children()} <= processes
    assert threading.active_count() == threads


def test_what_an_embedder_raises_ends_the_readers(tmp_path):
    (tmp_path / "docs").mkdir()
    for number in range(20):
        (tmp_path / "docs" / f"{number:02}.txt").write_text(f"Text {number}.")

    class Failing(HashingEmbedder):
        def encode_passages(self, texts):
            raise RuntimeError("no memory")

    threads = threading.active_count()
    with pytest.raises(RuntimeError, match="no memory"):
        Index.build(tmp_path / "docs", tmp_path / "index", embedder=Failing(), progress=False)
    assert threading.active_count() == threads


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupt_while_a_file_is_read_ends_the_program_at_once(tmp_path):
    (tmp_path / "many.jsonl").write_text('{"text": "Some words."}\n' * 400_000)
    code = (
        "import signal, sys; from rag_ft.indexing.corpus import read_corpus\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a background job is started without
        "for number, event in enumerate(read_corpus(sys.argv[1]).events()):\n"
        "    if number == 10: print('reads', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None and started.stdout.readline() == "reads\n"
            children = psutil.Process(started.pid).children(recursive=True)
            started.send_signal(signal.SIGINT)
            _, said = started.communicate(timeout=SECONDS)
        finally:
            started.kill()
    assert started.returncode != 0 and said.strip().endswith("KeyboardInterrupt")
    assert children and not any(child.is_running() and child.status() != "zombie" for child in children)
