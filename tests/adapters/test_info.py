import json
import shutil

import pytest
import torch
from tiny_adapters import fresh, make_adapter

from rag_ft.adapters.info import adapter_info
from rag_ft.answering.confidence import PlattScale
from rag_ft.errors import WeightsError


@pytest.fixture(scope="module")
def adapter(tiny_llama_dir, tmp_path_factory):
    scale = PlattScale(slope=0.5, intercept=-1)
    return make_adapter(tmp_path_factory.mktemp("a") / "one", tiny_llama_dir, 5, threshold=0.25, scale=scale)


def test_info_says_what_is_in_the_folder(adapter):
    (adapter / "README.md").write_text("---\nlicense: mit\n---\n# Card\n")
    described = adapter_info(adapter)
    assert (described.name, described.rank, described.alpha, described.scale) == ("one", 4, 8.0, 2.0)
    assert described.modules == ("q_proj", "v_proj") and described.licence == "MIT"
    # Two layers; q: 4 x (64 + 64), v: 4 x (64 + 32).
    assert described.parameters == 2 * (4 * 128 + 4 * 96)
    assert described.size_bytes == sum(path.stat().st_size for path in adapter.iterdir())
    assert (described.base_bits, described.threshold, described.shots) == (32, 0.25, False)
    assert described.platt == PlattScale(slope=0.5, intercept=-1)
    record = json.loads((adapter / "rag_ft.json").read_text())
    assert (described.prompt_fingerprint, described.base_identity) == (
        record["prompt_fingerprint"],
        record["base_model"]["identity"],
    )
    assert described.card.endswith("# Card\n")


def test_the_norm_of_a_layer_is_that_of_its_updates(adapter, tiny_llama_dir):
    model = fresh(tiny_llama_dir, adapter).loaded.model
    for layer in adapter_info(adapter).layers:
        block = model.get_base_model().model.layers[layer.layer].self_attn
        norms = {name: float(getattr(block, name).get_delta_weight("default").norm()) for name in ("q_proj", "v_proj")}
        assert layer.modules == pytest.approx(norms, rel=1e-4)
        assert layer.norm == pytest.approx(torch.tensor(list(norms.values())).norm().item(), rel=1e-4)
    assert [layer.layer for layer in adapter_info(adapter).layers] == [0, 1]


def test_rank_stabilised_scale_and_alpha_patterns_count(adapter, tiny_llama_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    config = json.loads((copy / "adapter_config.json").read_text())
    changed = {**config, "use_rslora": True, "alpha_pattern": {"v_proj": 2.0}}
    (copy / "adapter_config.json").write_text(json.dumps(changed))
    described = adapter_info(copy)
    assert described.rslora and described.scale == 4.0  # 8 / sqrt(4)
    block = fresh(tiny_llama_dir, copy).loaded.model.get_base_model().model.layers[0].self_attn
    for name in ("q_proj", "v_proj"):
        expected = float(getattr(block, name).get_delta_weight("default").norm())
        assert described.layers[0].modules[name] == pytest.approx(expected, rel=1e-4)


def test_an_adapter_from_elsewhere_has_gaps(adapter, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    (copy / "rag_ft.json").unlink()
    (copy / "README.md").unlink()
    described = adapter_info(copy)
    assert described.prompt_fingerprint is described.base_bits is described.threshold is None and described.card == ""


def test_the_packaged_adapter_by_its_name():
    described = adapter_info("packaged")
    assert (described.rank, described.scale, described.parameters, len(described.layers)) == (16, 2.0, 4_884_480, 30)


def test_what_is_not_a_lora_adapter_is_refused(adapter, tmp_path):
    with pytest.raises(WeightsError, match="is not an adapter"):
        adapter_info(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    (copy / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    with pytest.raises(WeightsError, match="of the kind IA3"):
        adapter_info(copy)
    (copy / "adapter_config.json").write_text("[")
    with pytest.raises(WeightsError, match="is not JSON"):
        adapter_info(copy)
    (copy / "adapter_config.json").unlink()
    with pytest.raises(WeightsError, match=r"adapter_config\.json is missing"):
        adapter_info(copy)
