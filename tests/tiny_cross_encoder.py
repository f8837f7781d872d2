"""A cross-encoder of two small layers, made in the test: for mechanics, never for what it answers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from rag_ft.models.cross_encoder import PassageScores
from rag_ft.models.plain_bert import PlainBert, load_plain_bert
from rag_ft.text.spans import Span

SIZE = 32
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(chr, range(33, 127)), *(f"##{chr(i)}" for i in range(33, 127))]


def tiny_tokenizer() -> Tokenizer:
    """A BERT tokenizer that knows single characters: every text has tokens with offsets."""
    vocabulary = {piece: i for i, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def passage_scores(
    relevance: float,
    evidence: Any,
    tokens: tuple[Span, ...],
    says: tuple[float, float, float] = (1.0, 0.0, 0.0),
    starts: Any = None,
    ends: Any = None,
) -> PassageScores:
    """What a cross-encoder says of a passage; without `starts` and `ends`, nothing of spans."""
    none = np.zeros(len(tokens), dtype=np.float32)
    return PassageScores(
        relevance,
        np.array(evidence, dtype=np.float32),
        tokens,
        says,
        none if starts is None else np.array(starts, dtype=np.float32),
        none if ends is None else np.array(ends, dtype=np.float32),
    )


def tiny_bert() -> Any:
    """A BERT of two layers with random weights, of transformers."""
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=SIZE,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertModel(config, add_pooling_layer=False)


def tiny_encoder() -> PlainBert:
    """A BERT of two layers with random weights, as cross-encoders have it."""
    with tempfile.TemporaryDirectory() as folder:
        return load_plain_bert(write_tiny_embedder(Path(folder)))


def write_tiny_embedder(folder: Path) -> Path:
    """The folder of such an encoder, where the packaged embedder's files would be."""
    tiny_bert().save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def use_tiny_embedder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the tiny encoder in `folder` the packaged embedder that cross-encoders start from."""
    import torch

    from rag_ft.models import cross_encoder
    from rag_ft.models.weights import Weights

    torch.manual_seed(0)
    weights = Weights("tiny", "embedder", write_tiny_embedder(folder), "made in the test", "MIT", "f", 1)
    monkeypatch.setattr(cross_encoder, "resolve_embedder", lambda: weights)
    return weights


def use_tiny_cross_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a tiny cross-encoder with random heads, over a tiny embedder, the packaged one; its folder."""
    import torch

    from rag_ft.models import cross_encoder
    from rag_ft.models.cross_encoder_files import write_cross_encoder
    from rag_ft.models.cross_encoder_network import changes_since, new_network
    from rag_ft.training.cross_encoder import run

    weights = use_tiny_embedder(folder / "embedder", monkeypatch)
    monkeypatch.setattr(run, "resolve_embedder", lambda: weights)
    torch.manual_seed(1)
    record = {
        "licence": "cc-by-sa-4.0",
        "data_note": "Made in the test.",
        "confidence": {"value": 0.3, "platt": {"slope": 0.5, "intercept": 0.0}},
        "decided_from": 0.9,
        "data": {"document_fingerprints": ["0123456789abcdef"]},
    }
    packaged = folder / "packaged"
    write_cross_encoder(packaged, changes_since(weights, new_network(weights)[0]), weights, record, "# Card\n")
    for module in (run, cross_encoder):
        monkeypatch.setattr(module, "packaged_cross_encoder_path", lambda: packaged)
    return packaged
