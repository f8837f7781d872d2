"""What tests of the cross-encoder's training share: a tiny one that stands for the packaged one."""

import pytest
from tiny_cross_encoder import use_tiny_cross_encoder, use_tiny_embedder

from rag_ft.models.cross_encoder_network import new_network
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
def packaged(tmp_path, monkeypatch):
    """A tiny cross-encoder with random heads in place of the packaged one."""
    return use_tiny_cross_encoder(tmp_path, monkeypatch)
