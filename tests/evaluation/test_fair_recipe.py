from pathlib import Path

from rag_ft.evaluation.fair_recipe import fair_recipe
from rag_ft.evaluation.recipe import read_recipe


def test_a_call_without_a_recipe_asks_the_arms_of_the_handbooks_recipe():
    written = read_recipe(Path(__file__).resolve().parents[2] / "evals" / "handbook.toml")
    assert fair_recipe("qa.jsonl", "index").arm == written.arm
    assert fair_recipe("qa.jsonl", "index").primary == written.primary


def test_an_adapter_is_judged_with_the_cross_encoder_beside_it(tmp_path):
    (tmp_path / "adapter" / "cross_encoder").mkdir(parents=True)
    assert fair_recipe("qa.jsonl", "index", tmp_path / "adapter").rerank is True
    (tmp_path / "adapter" / "cross_encoder" / "cross_encoder.json").write_text("{}")
    recipe = fair_recipe("qa.jsonl", "index", tmp_path / "adapter")
    folder = str(tmp_path / "adapter" / "cross_encoder")
    named = {arm.cross_encoder for arm in recipe.arm if getattr(arm, "cross_encoder", "none") != "none"}
    assert (recipe.rerank, named) == (folder, {folder})
