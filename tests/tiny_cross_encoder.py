"""A cross-encoder of two small layers, made in the test: for mechanics, never for what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

SIZE = 32
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(chr, range(33, 127)), *(f"##{chr(i)}" for i in range(33, 127))]


def tiny_tokenizer() -> Any:
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
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def tiny_encoder() -> Any:
    """A BERT of two layers with random weights."""
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


def write_tiny_embedder(folder: Path) -> Path:
    """The folder of such an encoder, where the packaged embedder's files would be."""
    tiny_encoder().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
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
