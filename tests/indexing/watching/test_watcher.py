"""A watch over real files: what it takes in, what it waits for, and what does not stop it."""

from __future__ import annotations

import errno
import shutil
import threading

import pytest
from filelock import FileLock
from watched import Watched, wait_until

from rag_ft.errors import CorpusError, MissingExtraError, UsageError
from rag_ft.indexing.storage.manifest import BuildReport
from rag_ft.indexing.watching import watcher as module
from rag_ft.indexing.watching.watcher import Watcher, WatchTiming, in_words


@pytest.fixture
def watched(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in "ab":
        (tmp_path / "docs" / f"{name}.md").write_text(f"The text of {name}.\n")
    watched = Watched(tmp_path / "docs")
    yield watched
    watched.stop()


@pytest.mark.parametrize("poll", [False, True], ids=["notices", "polling"])
def test_files_that_come_change_and_go_are_taken_in(watched, poll):
    watched.start(poll=poll)
    watched.wait_for_builds(1)
    (watched.folder / "deep").mkdir()
    (watched.folder / "deep" / "c.md").write_text("A third text.\n")
    watched.wait_for_builds(2)
    (watched.folder / "a.md").write_text("Changed.\n")
    watched.wait_for_builds(3)
    (watched.folder / "b.md").unlink()
    watched.wait_for_builds(4)
    done = [(report.added, report.changed, report.removed) for report in watched.reports]
    assert done == [
        (("a.md", "b.md"), (), ()),
        (("deep/c.md",), (), ()),
        ((), ("a.md",), ()),
        ((), (), ("b.md",)),
    ]
    assert watched.text("a.md") == "Changed."


def test_a_file_saved_by_renaming_is_taken_in_once(watched):
    watched.start()
    watched.wait_for_builds(1)
    (watched.folder / ".a.md.tmp").write_text("Changed.\n")
    (watched.folder / "a.md~").write_text("What was there.\n")
    (watched.folder / ".a.md.tmp").replace(watched.folder / "a.md")
    watched.wait_for_builds(2)
    assert watched.reports[1].changed == ("a.md",) and watched.documents() == ["a.md", "b.md"]


def test_a_thousand_new_files_make_one_build(watched):
    watched.start(timing=WatchTiming(quiet_s=1.0))
    watched.wait_for_builds(1)
    for i in range(1000):
        (watched.folder / f"{i}.md").write_text(f"Text number {i}.\n")
    watched.wait_for_builds(2)
    assert len(watched.reports[1].added) == 1000


def test_a_file_that_is_written_in_pieces_is_waited_for(watched):
    watched.start(timing=WatchTiming(quiet_s=0.6))
    watched.wait_for_builds(1)
    pause = threading.Event()
    with (watched.folder / "slow.md").open("w") as file:
        for i in range(8):
            file.write(f"Sentence {i} of many.\n")
            file.flush()
            pause.wait(0.1)
    watched.wait_for_builds(2)
    assert watched.text("slow.md").count("Sentence") == 8 and len(watched.reports) == 2


def test_a_file_that_never_rests_holds_up_nothing_and_is_named(watched, caplog):
    watched.start(timing=WatchTiming(quiet_s=0.5, longest_wait_s=1.0))
    watched.wait_for_builds(1)
    ended = threading.Event()

    def write():
        with (watched.folder / "a.md").open("a") as file:
            while not ended.wait(0.02):
                file.write("One more line.\n")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        (watched.folder / "letter.md").write_text("A letter.\n")
        watched.wait_for_builds(2)
        assert watched.reports[1].added == ("letter.md",)
        assert watched.reports[1].kept == ("a.md",)
        assert watched.text("a.md") == "The text of a."
        assert "a.md is still being written" in caplog.text
    finally:
        ended.set()
        writer.join()
    watched.wait_for_builds(3)
    assert watched.text("a.md").count("One more line.") > 1


def test_a_change_while_a_build_runs_makes_another_and_builds_do_not_overlap(watched):
    running, most = 0, 0
    build = watched.build

    def counted(known):
        nonlocal running, most
        running += 1
        most = max(most, running)
        (watched.folder / "a.md").write_text(f"Version {watched.started}.\n") if watched.started < 3 else None
        report = build(known)
        running -= 1
        return report

    watched.build = counted
    watched.start()
    wait_until(lambda: watched.reports and watched.text("a.md") == "Version 2.")
    assert most == 1


def test_a_locked_index_is_reported_once_and_written_when_it_is_free(watched, caplog, monkeypatch):
    monkeypatch.setattr("rag_ft.indexing.watching.settling._FIRST_PAUSE_S", 0.1)
    watched.start()
    watched.wait_for_builds(1)
    lock = FileLock(watched.path / ".lock")
    with lock:
        (watched.folder / "a.md").write_text("Changed.\n")
        started = watched.started
        wait_until(lambda: watched.started >= started + 1 and "another process is writing" in caplog.text)
    (watched.folder / "b.md").write_text("Changed too.\n")
    watched.wait_for_builds(2)
    assert watched.reports[1].changed == ("a.md", "b.md")
    assert caplog.text.count("another process is writing") == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the build failed (No space left on device)"),
        (CorpusError("documents are read in a separate process, which cannot be started here"), "cannot be started"),
        (RuntimeError("a library fell over\nand over"), "unexpected RuntimeError: a library fell over"),
    ],
)
def test_a_build_that_fails_is_told_in_one_sentence_and_the_watch_goes_on(watched, caplog, error, sentence):
    def fail():
        raise error

    watched.start()
    watched.wait_for_builds(1)
    watched.before_build = fail
    (watched.folder / "a.md").write_text("Changed.\n")
    wait_until(lambda: sentence in caplog.text)
    watched.before_build = lambda: None
    (watched.folder / "b.md").write_text("Changed too.\n")
    watched.wait_for_builds(2)
    assert watched.reports[1].changed == ("a.md", "b.md")


def test_a_file_that_cannot_be_read_is_named_once(watched, caplog):
    watched.start()
    watched.wait_for_builds(1)
    (watched.folder / "c.md").write_text(" ")
    watched.wait_for_builds(2)
    (watched.folder / "a.md").write_text("Changed.\n")
    watched.wait_for_builds(3)
    assert caplog.text.count("c.md is empty") == 1


def test_a_folder_that_vanishes_leaves_the_index_and_is_watched_again_when_it_is_back(watched, caplog):
    watched.start()
    watched.wait_for_builds(1)
    watched.folder.rename(watched.folder.with_name("away"))
    wait_until(lambda: "is not there: the index stays as it is" in caplog.text)
    assert watched.documents() == ["a.md", "b.md"]
    watched.folder.with_name("away").rename(watched.folder)
    (watched.folder / "a.md").write_text("Changed.\n")
    watched.wait_for_builds(2)
    assert watched.reports[1].changed == ("a.md",)
    (watched.folder / "b.md").write_text("Changed too.\n")
    watched.wait_for_builds(3)


def test_a_folder_that_is_suddenly_empty_as_after_unmounting_does_not_empty_the_index(watched, caplog):
    watched.start()
    watched.wait_for_builds(1)
    for name in "ab":
        (watched.folder / f"{name}.md").rename(watched.folder.parent / f"{name}.md")
    wait_until(lambda: "holds no document any more" in caplog.text)
    assert watched.documents() == ["a.md", "b.md"]
    (watched.folder.parent / "a.md").rename(watched.folder / "a.md")
    watched.wait_for_builds(2)
    assert watched.reports[1].removed == ("b.md",)


def test_documents_of_a_folder_inside_that_was_unmounted_stay(watched, caplog, monkeypatch):
    (watched.folder / "nas").mkdir()
    (watched.folder / "nas" / "c.md").write_text("On another drive.\n")
    mounted = True
    snapshot_of = module.snapshot_of

    def with_mount(*arguments):
        snapshot = snapshot_of(*arguments)
        return module.Snapshot(snapshot.files, frozenset({"nas"} if mounted else ()), snapshot.is_there)

    monkeypatch.setattr(module, "snapshot_of", with_mount)
    watched.start()
    watched.wait_for_builds(1)
    mounted = False
    (watched.folder / "nas" / "c.md").unlink()
    (watched.folder / "a.md").write_text("Changed.\n")
    watched.wait_for_builds(2)
    assert watched.documents() == ["a.md", "b.md", "nas/c.md"]
    assert "nas is no longer mounted" in caplog.text


def test_an_empty_folder_is_waited_for(watched, caplog):
    shutil.rmtree(watched.folder)
    watched.folder.mkdir()
    watched.start()
    wait_until(lambda: "holds no document" in caplog.text)
    (watched.folder / "a.md").write_text("The first.\n")
    watched.wait_for_builds(1)
    assert watched.documents() == ["a.md"]


def test_stopping_while_a_build_runs_leaves_the_index_as_it_was(watched):
    watcher = watched.start()
    watched.wait_for_builds(1)
    watched.before_build = watcher.stop
    (watched.folder / "a.md").write_text("Changed.\n")
    wait_until(lambda: watched.started == 2)
    watched.stop()
    assert watched.text("a.md") == "The text of a." and len(watched.reports) == 1
    assert len([*(watched.path / "generations").iterdir()]) == 1


def test_without_notices_of_the_system_the_folder_is_polled(watched, caplog, monkeypatch):
    import watchfiles

    def refuse(*arguments, **options):
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    watched.start()
    watched.wait_for_builds(1)
    (watched.folder / "a.md").write_text("Changed.\n")
    watched.wait_for_builds(2)
    assert "(OS file watch limit reached): the watch looks through it every 0.1 s instead" in caplog.text


def test_what_cannot_be_watched_is_said_before_any_work(tmp_path, monkeypatch):
    def never(known):
        raise AssertionError

    (tmp_path / "a.md").write_text("A text.\n")
    with pytest.raises(CorpusError, match="there is nothing at"):
        Watcher(tmp_path / "nothing", tmp_path / "index", never)
    with pytest.raises(UsageError, match="is a file: give a folder to watch"):
        Watcher(tmp_path / "a.md", tmp_path / "index", never)
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    with pytest.raises(MissingExtraError, match=r"watching a folder needs the extra 'watch': pip install"):
        Watcher(tmp_path, tmp_path / "index", never)
    Watcher(tmp_path, tmp_path / "index", never, poll=True)


def test_a_wrong_call_ends_the_watch(watched):
    def wrong():
        raise UsageError("chunks do not fit")

    watched.before_build = wrong
    with pytest.raises(UsageError, match="chunks do not fit"):
        Watcher(watched.folder, watched.path, watched.build, timing=WatchTiming(quiet_s=0)).run()


def test_a_build_in_words():
    assert in_words(BuildReport(seconds=0.84)) == "no document changed, 0.8 s"
    assert in_words(BuildReport(added=("a",), seconds=2)) == "1 document added, 2.0 s"
    report = BuildReport(changed=tuple("abc"), removed=("d",), seconds=0.8)
    assert in_words(report) == "3 documents changed, 1 removed, 0.8 s"
