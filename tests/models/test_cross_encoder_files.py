import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.errors import WeightsError
from rag_ft.models.cross_encoder_files import (
    add_changes,
    changes_between,
    is_cross_encoder,
    read_changes,
    read_record,
    write_cross_encoder,
)
from rag_ft.models.weights import Weights, weights_in


@pytest.fixture
def embedder(tmp_path):
    folder = tmp_path / "embedder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return Weights("tiny", "embedder", folder, "made in the test", "MIT", "f", 1)


def test_changes_are_kept_whole_unless_a_rank_is_given():
    before = {"m": torch.randn(80, 70), "b": torch.zeros(3), "same": torch.ones(2, 2)}
    change = torch.randn(80, 70) * 0.01
    after = {**before, "m": before["m"] + change, "b": torch.ones(3), "relevance.bias": torch.ones(1)}
    kept = changes_between(before, after)
    assert set(kept) == {"m.steps", "m.step", "b", "relevance.bias"}
    torch.testing.assert_close(kept["m.steps"] * kept["m.step"][:, None], change, atol=3e-4, rtol=0)
    narrow = changes_between(before, after, rank=3)
    assert (narrow["m.up"].shape, narrow["m.down"].shape) == ((80, 3), (3, 70)) and "m.steps" not in narrow


@given(st.lists(st.floats(-1, 1, width=32), min_size=6, max_size=6), st.floats(-9, 0))
def test_a_change_at_8_bits_is_off_by_half_a_step_of_its_row_at_most(values, power):
    change = torch.tensor(values).reshape(2, 3) * 10**power
    network = torch.nn.Linear(3, 2, bias=False)
    before = {"weight": network.weight.detach().clone()}
    added = before["weight"] + change
    add_changes(network, changes_between(before, {"weight": added}), Path("folder"))
    rows = (added - before["weight"]).abs().amax(1, keepdim=True)
    assert ((network.weight - added).abs() <= rows / 127 * 0.501 + 1e-6).all()


def test_changes_of_a_low_rank_are_kept_by_narrow_matrices():
    before = {"m": torch.randn(80, 70), "b": torch.zeros(3), "same": torch.ones(2, 2)}
    change = torch.randn(80, 64) @ torch.randn(64, 70) * 0.01
    kept = changes_between(before, {**before, "m": before["m"] + change, "b": torch.ones(3)}, rank=64)
    assert set(kept) == {"m.up", "m.down", "b"}
    torch.testing.assert_close(kept["m.up"].float() @ kept["m.down"].float(), change, atol=2e-3, rtol=0.01)


def test_what_is_written_is_read_again_and_names_its_base(tmp_path, embedder):
    folder = tmp_path / "tuned"
    assert not is_cross_encoder(folder)
    write_cross_encoder(folder, {"relevance.bias": torch.ones(1)}, embedder, {"licence": "mit"}, "# Card\n")
    assert is_cross_encoder(folder) and read_changes(folder)["relevance.bias"].tolist() == [1]
    record = read_record(folder)
    assert (record["licence"], record["base"]["name"]) == ("mit", "tiny")
    assert (folder / "README.md").read_text() == "# Card\n"


def test_a_write_that_fails_leaves_the_cross_encoder_as_it_was(tmp_path, embedder):
    folder = tmp_path / "tuned"
    write_cross_encoder(folder, {"relevance.bias": torch.ones(1)}, embedder, {"licence": "mit"}, "# Card\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(TypeError):
        write_cross_encoder(folder, {"relevance.bias": torch.zeros(1)}, embedder, {"licence": object()}, "# Card\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_stands_beside_the_two_files_does_not_change_the_fingerprint(tmp_path, embedder):
    folder = tmp_path / "tuned"
    write_cross_encoder(folder, {"relevance.bias": torch.ones(1)}, embedder, {}, "# Card\n")
    before = weights_in(folder, "cross-encoder").fingerprint
    (folder / "training").mkdir()
    (folder / "training" / "run.json").write_text("{}")
    assert weights_in(folder, "cross-encoder").fingerprint == before
    write_cross_encoder(folder, {"relevance.bias": torch.ones(1)}, embedder, {"confidence": {"value": 1}}, "# Card\n")
    assert weights_in(folder, "cross-encoder").fingerprint != before


@pytest.mark.parametrize("content", ["[]", "{", json.dumps({"base": {"name": 1}})])
def test_a_damaged_record_is_refused_in_a_sentence(tmp_path, embedder, content):
    folder = tmp_path / "tuned"
    write_cross_encoder(folder, {"relevance.bias": torch.ones(1)}, embedder, {}, "# Card\n")
    (folder / "cross_encoder.json").write_text(content)
    with pytest.raises(WeightsError, match="is not a record of a cross-encoder"):
        read_record(folder)
