import json
from pathlib import Path

import pytest

from rag_ft.evaluation.fair_recipe import fair_recipe
from rag_ft.evaluation.recipe import read_recipe


def test_a_call_without_a_recipe_asks_the_arms_of_the_handbooks_recipe():
    written = read_recipe(Path(__file__).resolve().parents[2] / "evals" / "handbook.toml")
    assert fair_recipe("qa.jsonl", "index").arm == written.arm
    assert fair_recipe("qa.jsonl", "index").primary == written.primary


def write_record(folder, **fields):
    """The files of a cross-encoder's folder that a recipe looks at."""
    record = {"base": {"name": "tiny", "sha256": "0" * 64}, "confidence": {"value": 0.5}, **fields}
    (folder / "cross_encoder.json").write_text(json.dumps(record))
    (folder / "cross_encoder.safetensors").write_bytes(b"")


def test_an_adapter_is_judged_with_the_cross_encoder_beside_it(tmp_path):
    (tmp_path / "adapter" / "cross_encoder").mkdir(parents=True)
    assert fair_recipe("qa.jsonl", "index", tmp_path / "adapter").rerank is True
    write_record(tmp_path / "adapter" / "cross_encoder", span_weight=1.0)
    recipe = fair_recipe("qa.jsonl", "index", tmp_path / "adapter")
    folder = str(tmp_path / "adapter" / "cross_encoder")
    named = {arm.cross_encoder for arm in recipe.arm if getattr(arm, "cross_encoder", "none") != "none"}
    assert (recipe.rerank, named) == (folder, {folder})
    assert "cross-encoder alone" in [arm.name for arm in recipe.arm]


@pytest.mark.parametrize("fields", [{}, {"span_weight": 0.0}])
def test_a_cross_encoder_that_marks_no_words_helps_and_is_not_asked_alone(tmp_path, fields):
    """Such as one that was tuned before they did: an evaluation of its adapter goes on as it did."""
    (tmp_path / "adapter" / "cross_encoder").mkdir(parents=True)
    write_record(tmp_path / "adapter" / "cross_encoder", **fields)
    names = [arm.name for arm in fair_recipe("qa.jsonl", "index", tmp_path / "adapter").arm]
    assert "cross-encoder alone" not in names and "tuned, with passages and cross-encoder" in names
