from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag_ft.answering.bulk.work import BLOCKS, BulkWork
from rag_ft.errors import DatasetError, UsageError
from rag_ft.question_generation.outcomes import REQUESTS, WorkFolder
from rag_ft.unfinished import LOCK, RUN_FILE, UnfinishedRun

SETTINGS = {"source": "s", "seed": 1}
OTHER = {"source": "s", "seed": 2}


@pytest.fixture(params=[BulkWork, WorkFolder])
def work(request: pytest.FixtureRequest, tmp_path: Path) -> UnfinishedRun:
    folder: UnfinishedRun = request.param(tmp_path / "out.jsonl")
    folder.make()
    return folder


def result_of(work: UnfinishedRun) -> Path:
    """Something that the run keeps."""
    return work.path / BLOCKS / "00000000.jsonl" if isinstance(work, BulkWork) else work.path / REQUESTS


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_with_equal_settings_resumes(work: UnfinishedRun, overwrite: bool) -> None:
    assert not work.exists
    work.begin(SETTINGS, overwrite=overwrite)
    result_of(work).write_text("kept")
    work.begin(dict(reversed(SETTINGS.items())), overwrite=overwrite)
    assert work.exists and result_of(work).read_text() == "kept"


def test_one_with_other_settings_is_named_and_forgotten_on_request(
    work: UnfinishedRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rag_ft")
    work.begin(SETTINGS, overwrite=False)
    result_of(work).write_text("kept")
    with pytest.raises(DatasetError, match=r"other settings \(seed was 1 and is now 2\): repeat its command"):
        work.begin(OTHER, overwrite=False)
    assert result_of(work).read_text() == "kept"
    work.begin(OTHER, overwrite=True)
    assert not result_of(work).exists() and json.loads((work.path / RUN_FILE).read_text()) == OTHER
    assert "starting over: an unfinished run with other settings is removed" in caplog.text


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ('{"mine": 1}', "does not say what run"),
        ("[]", "does not say what run"),
        ("{", "is damaged"),
        (None, "has no run"),
    ],
)
def test_the_files_of_others_are_left_alone(work: UnfinishedRun, run: str | None, message: str) -> None:
    if run is not None:
        (work.path / RUN_FILE).write_text(run)
    result_of(work).write_text("mine")
    with pytest.raises(DatasetError, match=message):
        work.begin(SETTINGS, overwrite=True)
    assert result_of(work).read_text() == "mine"


def test_a_link_in_the_way_is_left_alone(work: UnfinishedRun, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine")
    for name in (RUN_FILE, LOCK):
        (work.path / name).symlink_to(tmp_path / "other")
        with pytest.raises(UsageError, match="is in the way of the unfinished work"):
            work.make()
        (work.path / name).unlink()
    work.make()


def test_the_folder_goes_unless_something_else_is_in_it(work: UnfinishedRun) -> None:
    work.begin(SETTINGS, overwrite=False)
    result_of(work).write_text("kept")
    (work.path / "mine.txt").write_text("x")
    work.clear()
    work.remove()
    assert {path.name for path in work.path.iterdir()} - {BLOCKS} == {"mine.txt"}
    (work.path / "mine.txt").unlink()
    work.make()
    work.remove()
    assert not work.path.exists()
