"""The file of feedback: whole after a kill, shared by writers, and its damage named."""

import multiprocessing
import os
from pathlib import Path

import pytest

from rag_ft.errors import IndexCorruptError, IndexLockedError, UsageError
from rag_ft.indexing.storage.feedback import FeedbackFile
from rag_ft.questions.feedback import Feedback
from rag_ft.schema import Evidence


def entry(name: str, document: str = "Oslo.txt") -> Feedback:
    evidence = Evidence(document_id=document, start=0, end=5, quote="tower")
    return Feedback(id=name, question="Which?", verdict="right", evidence=evidence)


def add(folder: Path, *names: str) -> None:
    for name in names:
        FeedbackFile(folder).change(lambda entries, name=name: [*entries, entry(name)], 30)


def test_what_is_written_is_read_in_order_and_an_empty_file_is_none(tmp_path):
    file = FeedbackFile(tmp_path)
    assert file.read() == []
    add(tmp_path, "a", "b")
    assert file.read() == [entry("a"), entry("b")]
    file.change(lambda entries: [], 1)
    assert not file.path.exists()


def test_writers_of_several_processes_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    names = [[f"{writer}-{i}" for i in range(15)] for writer in range(4)]
    writers = [context.Process(target=add, args=(tmp_path, *own)) for own in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert {kept.id for kept in FeedbackFile(tmp_path).read()} == {name for own in names for name in own}


def test_a_writer_that_waited_too_long_is_told_and_changes_nothing(tmp_path):
    add(tmp_path, "a")

    def writes_inside(entries):
        with pytest.raises(IndexLockedError, match="another process is writing the feedback of the index at"):
            FeedbackFile(tmp_path).change(lambda _: [], 0.1)
        return [*entries, entry("b")]

    FeedbackFile(tmp_path).change(writes_inside, 1)
    assert FeedbackFile(tmp_path).read() == [entry("a"), entry("b")]


def test_a_writer_that_fails_leaves_the_former_records_and_nothing_beside_them(tmp_path, monkeypatch):
    add(tmp_path, "a")

    def full(path, flags, *args, **kwargs):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(Exception, match=r"disk of .* is full"):
            add(tmp_path, "b")
    assert FeedbackFile(tmp_path).read() == [entry("a")]
    assert FeedbackFile(tmp_path).unfinished() == []


def test_what_a_killed_writer_left_is_removed_by_a_sweep(tmp_path):
    add(tmp_path, "a")
    left = tmp_path / ".feedback.jsonl.partial-999999999-0badcafe"
    left.write_text('{"question": "half a rec')
    assert FeedbackFile(tmp_path).unfinished() == [left]
    FeedbackFile(tmp_path).prune({"Oslo.txt"}, 1)
    assert not left.exists() and FeedbackFile(tmp_path).read() == [entry("a")]


def test_records_of_other_documents_are_pruned(tmp_path):
    file = FeedbackFile(tmp_path)
    file.change(lambda entries: [entry("a"), entry("b", "Lima.txt")], 1)
    file.prune({"Lima.txt"}, 1)
    assert file.read() == [entry("b", "Lima.txt")]


def test_a_damaged_line_is_named_and_stays(tmp_path):
    add(tmp_path, "a")
    file = FeedbackFile(tmp_path)
    text = file.path.read_text() + '{"id": "x"}\n'
    file.path.write_text(text)
    with pytest.raises(IndexCorruptError, match=r"feedback.jsonl, line 2: question"):
        add(tmp_path, "b")
    assert file.path.read_text() == text


def test_a_link_is_neither_read_nor_replaced(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "feedback.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        add(tmp_path, "a")
    with pytest.raises(IndexCorruptError, match="not an ordinary file"):
        FeedbackFile(tmp_path).read()
    assert (tmp_path / "elsewhere").read_text() == "mine"
