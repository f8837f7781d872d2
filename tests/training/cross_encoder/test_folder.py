import json

import pytest

from rag_ft.errors import TrainingError, UsageError
from rag_ft.training.cross_encoder.folder import CHECKPOINT, check_cross_encoder_folder, claim_run

IDENTITY = {"records": "r", "index": "i", "base": "b", "start": None, "settings": {"epochs": 1}}


def test_a_run_claims_its_folder_and_resumes_only_with_equal_settings(tmp_path):
    work = claim_run(tmp_path / "out" / "cross_encoder", IDENTITY)
    assert json.loads((work / "run.json").read_text()) == IDENTITY
    (work / "metrics.jsonl").write_text("{}\n")
    (work / CHECKPOINT).write_bytes(b"state")
    assert claim_run(work.parent, IDENTITY) == work and (work / "metrics.jsonl").exists()
    with pytest.raises(TrainingError, match=r"holds the checkpoint of a run with other index, settings: remove the"):
        claim_run(work.parent, {**IDENTITY, "index": "other", "settings": {}})


def test_a_finished_run_is_replaced(tmp_path):
    work = claim_run(tmp_path, IDENTITY)
    (work / "metrics.jsonl").write_text("{}\n")
    claim_run(tmp_path, {**IDENTITY, "index": "other"})
    assert not (work / "metrics.jsonl").exists()
    assert json.loads((work / "run.json").read_text())["index"] == "other"


@pytest.mark.parametrize(
    "name",
    [
        *("cross_encoder.json", "cross_encoder.safetensors", "README.md"),
        *("training/run.json", "training/checkpoint.pt", "training/metrics.jsonl"),
    ],
)
def test_a_file_of_somebody_else_is_not_overwritten(tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UsageError, match=rf"{name} is not from a run of rag_ft"):
        claim_run(tmp_path / "out", IDENTITY)
    assert [file.name for file in (tmp_path / "out").rglob("*") if file.is_file()] == [path.name]
    assert path.read_text() == "mine"


def test_files_with_other_names_are_left_alone(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "notes.txt").write_text("mine")
    (tmp_path / "adapter_config.json").write_text("{}")
    claim_run(tmp_path, IDENTITY)
    assert (tmp_path / "training" / "notes.txt").read_text() == "mine"


def test_a_cross_encoder_of_an_earlier_run_may_be_replaced(tmp_path):
    (tmp_path / "cross_encoder.json").write_text(json.dumps({"base": {"name": "b", "sha256": "s"}}))
    (tmp_path / "cross_encoder.safetensors").write_bytes(b"")
    check_cross_encoder_folder(tmp_path)


def test_a_link_or_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="file is a file: give a folder for the cross-encoder"):
        claim_run(tmp_path / "file" / "out", IDENTITY)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "training").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="training is not from a run"):
        claim_run(tmp_path / "out", IDENTITY)
