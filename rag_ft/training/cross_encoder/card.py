"""The model card of a cross-encoder, filled from its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_ft.training.card import render_card

_TEMPLATE = Path(__file__).with_name("card.md.jinja")


def cross_encoder_card(record: Mapping[str, Any], base_name: str) -> str:
    """The README of a cross-encoder's folder, with the front matter that model hubs read."""
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        base_model=base_name,
        pipeline_tag="text-ranking",
        license=record["licence"],
        tags=["rag", "cross-encoder", "reranker", "question-answering"],
    )
    measured = [measurement for measurement in record["history"] if "worth" in measurement]
    return render_card(
        _TEMPLATE,
        metadata,
        base_name=base_name,
        data_note=record["data_note"],
        data=record["data"],
        started_from=record["started_from"],
        settings=record["training"],
        measured=measured,
        kept_step=record["kept_step"],
        results=record["results"],
        calibration=record["calibration_note"],
    )
