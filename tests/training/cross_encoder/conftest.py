"""What tests of the cross-encoder's training share: a tiny one that stands for the packaged one."""

import pytest
import torch
from tiny_cross_encoder import use_tiny_embedder

from rag_ft.models.cross_encoder_files import write_cross_encoder
from rag_ft.models.cross_encoder_network import changes_since, new_network
from rag_ft.training.cross_encoder import run


@pytest.fixture
def embedder(tmp_path, monkeypatch):
    """The tiny encoder in place of the packaged embedder."""
    weights = use_tiny_embedder(tmp_path / "embedder", monkeypatch)
    monkeypatch.setattr(run, "resolve_embedder", lambda: weights)
    return weights


@pytest.fixture
def tokenizer(embedder):
    return new_network(embedder)[1]


@pytest.fixture
def packaged(tmp_path, embedder, monkeypatch):
    """A tiny cross-encoder with random heads in place of the packaged one."""
    folder = tmp_path / "packaged"
    torch.manual_seed(1)
    record = {
        "licence": "cc-by-sa-4.0",
        "data_note": "Made in the test.",
        "confidence": {"value": 0.3, "platt": {"slope": 0.5, "intercept": 0.0}},
        "decided_from": 0.9,
        "data": {"document_fingerprints": ["0123456789abcdef"]},
    }
    write_cross_encoder(folder, changes_since(embedder, new_network(embedder)[0]), embedder, record, "# Card\n")
    monkeypatch.setattr(run, "packaged_cross_encoder_path", lambda: folder)
    return folder
