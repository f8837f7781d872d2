from __future__ import annotations

import contextlib
import logging
import subprocess
import sys

import numpy as np
import pytest

from rag_ft.errors import WeightsError
from rag_ft.models.openvino_encoder import (
    PROBES,
    CompiledEncoder,
    EncoderRecord,
    TokenBatch,
    encoder_folder,
    read_encoder,
    write_encoder,
)

pytest.importorskip("openvino")

RECORD = EncoderRecord(
    fingerprint="f",
    dimension=4,
    max_tokens=16,
    query_prompt="",
    passage_prompt="",
    pad_id=0,
    inputs=2,
    float32_agreement=0.0,
    bfloat16_agreement=0.0,
)


@pytest.fixture(scope="module")
def network():
    """A network in the shape of sentence-transformers': the mean of its tokens' vectors."""
    import torch

    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(10, 4)

        def forward(self, features):
            mask = features["attention_mask"].unsqueeze(-1).float()
            vectors = (self.table(features["input_ids"]) * mask).sum(1) / mask.sum(1)
            return {"sentence_embedding": vectors}

    return Mean().eval()


@pytest.fixture
def folder(tmp_path, network):
    write_encoder(tmp_path / "encoder", network, "{}", RECORD, lambda folder, dtype: 1.0)
    return tmp_path / "encoder"


def test_a_converted_network_gives_the_vectors_of_its_torch_modules_whatever_it_is_padded_with(folder, network):
    ids = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 1]]
    vectors = np.zeros((3, 4), dtype=np.float32)
    encoder = CompiledEncoder(folder, RECORD, dtype="float32", threads=1)
    encoder.encode_into(vectors, [TokenBatch([2, 0], [ids[2], ids[0]]), TokenBatch([1], [ids[1]])])
    table = network.table.weight.detach().numpy()
    for tokens, vector in zip(ids, vectors, strict=True):
        mean = table[tokens].mean(axis=0)
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_a_whole_conversion_is_read_again_and_a_damaged_one_is_not(folder):
    record = read_encoder(folder)
    assert record is not None and record.usable("float32")
    weights = folder / "encoder.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert read_encoder(folder) is None
    assert read_encoder(folder.parent) is None


def test_a_conversion_with_other_vectors_is_refused_and_keeps_no_network(tmp_path, network):
    record = write_encoder(tmp_path / "other", network, "{}", RECORD, lambda folder, dtype: 0.99)
    assert "its vectors in OpenVINO are others than in torch (cosine 0.99000)" in record.refused
    assert read_encoder(tmp_path / "other") == record and not record.usable("float32")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["encoder.json"]


def test_a_network_that_cannot_be_converted_is_refused_once(tmp_path):
    record = write_encoder(tmp_path / "none", object(), "{}", RECORD, lambda folder, dtype: 1.0)
    assert record.refused.startswith("OpenVINO cannot convert it (")
    assert read_encoder(tmp_path / "none") == record


def test_bfloat16_is_used_only_if_it_agreed(folder):
    record = read_encoder(folder).model_copy(update={"bfloat16_agreement": 0.99989})
    assert record.usable("float32") and not record.usable("bfloat16")


def test_each_type_and_embedder_has_a_conversion_of_its_own():
    folders = {encoder_folder(weights, dtype) for weights in ("a", "b") for dtype in ("float32", "bfloat16")}
    assert len(folders) == 4


def test_probes_are_short_and_long_with_capitals_and_accents():
    assert len(min(PROBES, key=len)) < 8 and len(max(PROBES, key=len)) > 500
    assert any(text != text.lower() for text in PROBES) and not all(map(str.isascii, PROBES))


def test_openvino_is_imported_without_its_telemetry():
    code = """
import sys
from rag_ft.models.openvino_encoder import without_telemetry
without_telemetry()
from openvino.tools.ovc import convert_impl, telemetry_utils
print("openvino_telemetry" in sys.modules, convert_impl.tm.__name__, telemetry_utils.tm.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    stub = "openvino.tools.ovc.telemetry_stub"
    assert done.stdout.split() == ["False", stub, stub], done.stderr


def test_a_conversion_that_fails_leaves_the_root_logger_as_it_was(tmp_path, caplog):
    import torch

    class Broken(torch.nn.Module):
        def forward(self, features):
            raise ValueError("this network cannot be traced")

    caplog.set_level(logging.INFO)
    with contextlib.suppress(WeightsError):
        write_encoder(tmp_path / "encoder", Broken().eval(), "{}", RECORD, lambda folder, dtype: 1.0)
    assert logging.getLogger().level == logging.INFO
