import json
import os
import shutil

import pytest

from rag_ft.errors import UsageError
from rag_ft.training.folder import (
    check_run_folder,
    checkpoints_of,
    clear_checkpoints,
    clear_run,
    foreign_among,
    foreign_in_run,
    is_over,
    is_run,
    make_run_folder,
    newest_checkpoint,
    read_end,
    without_gain,
    write_end,
)


def test_a_file_is_ours_by_the_record_beside_it_and_never_as_a_link_or_folder(tmp_path):
    for name in ("b", "c"):
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    assert foreign_among(tmp_path, ("a", "c", "b"), ours=False) == tmp_path / "c"
    assert foreign_among(tmp_path, ("a", "c", "b"), ours=True) is None
    for name in ("link", "dangling", "folder"):
        assert foreign_among(tmp_path, ("a", "b", name), ours=True) == tmp_path / name


def test_a_folder_that_a_run_cannot_have_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "deep" / "er"):
        with pytest.raises(UsageError, match=r"file is a file: give a folder for the lens \(--output\)"):
            check_run_folder(folder, "lens", lambda output: None)
        with pytest.raises(UsageError, match=r"cannot be a folder \(.+\): give another folder for the lens"):
            make_run_folder(folder, "lens")
    with pytest.raises(UsageError, match=r"file is not from a run of rag_ft, .+ for the lens \(--output\)"):
        check_run_folder(tmp_path, "lens", lambda output: output / "file")
    check_run_folder(tmp_path / "new" / "er", "lens", lambda output: None)
    make_run_folder(tmp_path / "new" / "er", "lens")
    assert (tmp_path / "new" / "er").is_dir()


@pytest.mark.parametrize(
    "theirs",
    ["best/notes.txt", "last/photo.jpg", "checkpoints/checkpoint-3/thesis.txt", "checkpoints/checkpoint-3/sub/file"],
)
def test_a_file_where_a_run_would_remove_a_folder_is_found(tmp_path, theirs):
    path = tmp_path / theirs
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    foreign = foreign_in_run(tmp_path)
    assert foreign is not None and path.is_relative_to(foreign)
    newest_checkpoint(tmp_path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["best", "last", "checkpoints", "checkpoints/checkpoint-3", "metrics.jsonl", "end.json"]
)
def test_a_link_in_place_of_what_a_run_writes_is_found_and_not_followed(tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "optimizer.pt").write_text("mine")
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(elsewhere)
    assert foreign_in_run(run) == run / name
    newest_checkpoint(run)
    assert (run / name).is_symlink() and (elsewhere / "optimizer.pt").read_text() == "mine"


def test_clearing_a_run_leaves_what_has_other_names(tmp_path):
    ours = ["best/best.json", "checkpoints/checkpoint-3/optimizer.pt", "metrics.jsonl", "end.json", "curves.png"]
    theirs = ["notes.txt", "checkpoints/runs/events", "checkpoints/checkpoint-old/optimizer.pt"]
    for name in (*ours, *theirs):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert foreign_in_run(tmp_path) is None
    clear_run(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(theirs)


def test_a_run_is_known_by_what_its_record_says(tmp_path):
    assert not is_run(tmp_path)
    for text in ("{", "[]", "{}", '{"examples": 1}', "[" * 100_000):
        (tmp_path / "run.json").write_text(text)
        assert not is_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(dict.fromkeys(("examples", "prompt", "base", "lora", "training"))))
    assert is_run(tmp_path)


def test_the_end_counts_with_the_adapters_of_the_last_step_only(tmp_path):
    assert read_end(tmp_path) is None
    write_end(tmp_path, 8)
    assert read_end(tmp_path) is None
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "adapter_model.safetensors").write_bytes(b"x")
    (tmp_path / "best" / "best.json").write_text('{"step": 6}')
    assert read_end(tmp_path) is None
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "best.json").write_text('{"step": 8.0}')
    assert read_end(tmp_path) == 8


@pytest.mark.parametrize(
    ("step", "max_steps", "patience", "over"),
    [
        (7, 8, 0, False),
        (8, 8, 0, True),
        (9, 8, 0, True),
        (8, -1, 0, False),
        (20, -1, 0, True),
        (7, 8, 2, True),
        (7, 8, 3, False),
    ],
)
def test_a_run_is_over_at_its_last_step_or_when_its_patience_is(tmp_path, step, max_steps, patience, over):
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 20}))
    history = [{"step": step, "eval_loss": loss} for step, loss in ((2, 1.0), (4, 1.5), (6, 1.2))]
    assert without_gain(history) == 2
    assert is_over(tmp_path, history, max_steps, patience) == over


def test_names_that_only_look_like_checkpoints_are_none(tmp_path):
    for name in ("checkpoint-12", "checkpoint-3", "checkpoint-x", "checkpoint-3-copy", "my-checkpoint-4"):
        os.makedirs(tmp_path / "checkpoints" / name)
    assert [path.name for path in checkpoints_of(tmp_path)] == ["checkpoint-3", "checkpoint-12"]


def test_what_a_tracker_has_written_outlives_the_checkpoints(tmp_path):
    kept = tmp_path / "checkpoints"
    for name in ("checkpoint-3/optimizer.pt", "checkpoint-4/notes.txt", "runs/file"):
        (kept / name).parent.mkdir(parents=True)
        (kept / name).write_text("x")
    clear_checkpoints(tmp_path)
    assert sorted(path.name for path in kept.iterdir()) == ["checkpoint-4", "runs"]
    shutil.rmtree(kept / "runs")
    shutil.rmtree(kept / "checkpoint-4")
    clear_checkpoints(tmp_path)
    assert not kept.exists()
