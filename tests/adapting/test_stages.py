import json
import multiprocessing

import pytest

from rag_ft.adapting.stages import Folder, opened
from rag_ft.errors import UsageError


def count_of(folder, inputs, calls, result=None, **more):
    def work():
        calls.append(inputs)
        return result or {"value": inputs["a"]}

    return folder.stage("plan", inputs, work, **more)


def test_a_stage_is_skipped_while_its_inputs_are_equal(tmp_path):
    calls = []
    with opened(tmp_path / "out") as folder:
        assert count_of(folder, {"a": 1}, calls) == {"value": 1}
    with opened(tmp_path / "out") as folder:
        assert count_of(folder, {"a": 1}, calls) == {"value": 1}
        assert count_of(folder, {"a": 2}, calls) == {"value": 2}
    assert calls == [{"a": 1}, {"a": 2}]


def test_a_stage_whose_files_are_gone_is_done_again(tmp_path):
    calls = []
    with opened(tmp_path / "out") as folder:
        count_of(folder, {"a": 1}, calls)
        count_of(folder, {"a": 1}, calls, stands=lambda result: result == {"value": 1})
        count_of(folder, {"a": 1}, calls, stands=lambda result: False)
    assert len(calls) == 2


def test_what_was_begun_with_other_inputs_is_removed_and_what_was_not_resumes(tmp_path):
    removed = []

    def stopped():
        raise KeyboardInterrupt

    with opened(tmp_path / "out") as folder:
        for inputs in ({"a": 1}, {"a": 1}, {"a": 2}):
            with pytest.raises(KeyboardInterrupt):
                folder.stage("train", inputs, stopped, renew=lambda inputs=inputs: removed.append(inputs))
    assert removed == [{"a": 2}]


def test_a_file_that_somebody_changed_is_not_replaced(tmp_path):
    with opened(tmp_path / "out") as folder:
        digest = folder.write("questions.jsonl", "one\n")
        assert folder.holds("questions.jsonl", digest)
        folder.write("questions.jsonl", "two\n")
        folder.file("questions.jsonl").write_text("mine\n")
        with pytest.raises(UsageError, match=r"questions\.jsonl was changed by somebody"):
            folder.write("questions.jsonl", "three\n")
        assert folder.file("questions.jsonl").read_text() == "mine\n"
        folder.write("questions.jsonl", "three\n", replaces=True)


@pytest.mark.parametrize("stopped", ["before", "after"])
def test_a_file_stopped_around_its_write_is_still_ours(tmp_path, monkeypatch, stopped):
    from rag_ft.adapting import stages

    write = stages.write_atomic

    def write_and_stop(path, content):
        if path.name == "questions.jsonl" and content == "two\n":
            if stopped == "after":
                write(path, content)
            raise KeyboardInterrupt
        write(path, content)

    with opened(tmp_path / "out") as folder:
        folder.write("questions.jsonl", "one\n")
    monkeypatch.setattr(stages, "write_atomic", write_and_stop)
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "out") as folder:
        folder.write("questions.jsonl", "two\n")
    monkeypatch.undo()
    with opened(tmp_path / "out") as folder:
        folder.write("questions.jsonl", "three\n")
    assert (tmp_path / "out" / "questions.jsonl").read_text() == "three\n"


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with opened(tmp_path / "out") as folder:
        folder.file("verdict.html").symlink_to(tmp_path / "mine.txt")
        with pytest.raises(UsageError, match="is a link or a folder"):
            folder.write("verdict.html", "page")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"holds thesis\.tex"), opened(tmp_path / "out"):
        pass
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file: give a folder"), opened(tmp_path / "file"):
        pass


@pytest.mark.parametrize("content", ["", "{}x", '{"other": 1}', '{"format": 9}', '{"stages": {"plan": 3}}', "\udc80"])
def test_a_damaged_record_of_the_stages_is_told(tmp_path, content):
    (tmp_path / "adapt.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=r"adapt\.json (is damaged|has format 9)"), opened(tmp_path):
        pass


def test_what_a_killed_process_left_of_its_first_write_is_no_obstacle(tmp_path):
    (tmp_path / ".adapt.json.partial-999999999-ab12").write_text("{")
    (tmp_path / "adapt.lock").touch()
    with opened(tmp_path) as folder:
        assert isinstance(folder, Folder)
    assert sorted(path.name for path in tmp_path.iterdir()) in (["adapt.json"], ["adapt.json", "adapt.lock"])


def _hold(path, held, done):
    with opened(path):
        held.set()
        done.wait(30)


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "out", held, done))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(UsageError, match="another process works in"), opened(tmp_path / "out"):
            pass
    finally:
        done.set()
        other.join(30)


def test_the_record_is_json_that_names_every_stage(tmp_path):
    with opened(tmp_path / "out") as folder:
        count_of(folder, {"a": 1}, [])
        folder.note("index", {"fingerprint": "f"}, 3.0)
        folder.note("index", {"fingerprint": "g"}, None)
        assert folder.seconds("index", "unknown") == 3.0
    stages = json.loads((tmp_path / "out" / "adapt.json").read_text())["stages"]
    assert set(stages) == {"plan", "index"} and stages["index"]["result"] == {"fingerprint": "g"}
