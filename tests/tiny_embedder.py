"""A sentence-transformers model of two small layers with prompts, made in the test: for mechanics alone."""

from __future__ import annotations

from pathlib import Path

from tiny_cross_encoder import write_tiny_embedder


def write_tiny_sentence_embedder(folder: Path, *, prompt_pooled: bool = True) -> Path:
    """Its folder. `prompt_pooled`: whether the prompt's tokens count in the mean, as they mostly do."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    torch.manual_seed(0)
    transformer = Transformer(str(write_tiny_embedder(folder / "made")), max_seq_length=500)
    pooling = Pooling(transformer.get_embedding_dimension(), "mean", include_prompt=prompt_pooled)
    model = SentenceTransformer(
        modules=[transformer, pooling, Normalize()], prompts={"query": "ask: ", "document": "text: "}, device="cpu"
    )
    model.save_pretrained(str(folder / "embedder"), create_model_card=False)
    return folder / "embedder"
