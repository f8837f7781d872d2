"""The model card of an adapter: a Jinja template filled from the adapter's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.questions.records import origin_words

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

_TEMPLATE = Path(__file__).with_name("adapter_card.md.jinja")

_MEMBER_SETTINGS = ("epochs", "learning_rate", "row_tokens", "rows_per_step", "bits", "seed")
"""Settings in which the members of an average may differ, as its card lists them."""


def model_card(record: Mapping[str, Any], base_name: str) -> str:
    """The README of an adapter folder, with the front matter that model hubs read."""
    from huggingface_hub import ModelCardData

    averaged = record.get("averaged", ())
    threshold = record.get("threshold", {})
    metadata = ModelCardData(
        base_model=base_name,
        library_name="peft",
        pipeline_tag="text-generation",
        license=record["licence"],
        tags=["rag", "lora", "qlora", "trl", "sft", "question-answering"],
    )
    return render_card(
        _TEMPLATE,
        metadata,
        data_note=record["data_note"],
        data=record["data"],
        certificate=record["certificate"],
        origins=origin_words(record["certificate"].get("origins", {})),
        settings={**record["lora"], **({} if averaged else record["training"])},
        verdict=record["verdict"],
        losses=_losses(record["history"]),
        averaged=averaged,
        member_settings=_MEMBER_SETTINGS,
        results=record.get("results"),
        threshold=threshold.get("value"),
        threshold_by_kind={kind: own["value"] for kind, own in threshold.get("kinds", {}).items()},
        chosen_on=threshold.get("chosen_on"),
    )


def render_card(template: Path, metadata: ModelCardData, **values: Any) -> str:
    """Fill the Jinja template of a model card with front matter and values, for adapters and merged models alike.

    The template starts with `{{ card_data }}` between two lines of `---`. In it, `percent` shows a share as a
    percentage, or a dash for None.
    """
    from huggingface_hub import ModelCard

    card = ModelCard.from_template(metadata, template_path=str(template), percent=_percent, **values)
    return str(card).rstrip() + "\n"


def card_body(card: str) -> str:
    """A card without its front matter, if it has one."""
    return card.split("\n---", 1)[1].lstrip("-\n") if card.startswith("---") and "\n---" in card else card


def _losses(history: Sequence[Mapping[str, float]]) -> list[dict[str, str]]:
    """The held-out losses as table cells, each beside the mean training loss since the one before."""
    rows, since = [], []
    for measurement in history:
        if "loss" in measurement:
            since.append(measurement["loss"])
        if "eval_loss" in measurement:
            rows.append(
                {
                    "step": f"{measurement['step']:.0f}",
                    "training": f"{sum(since) / len(since):.3f}" if since else "–",
                    "held_out": f"{measurement['eval_loss']:.3f}",
                }
            )
            since = []
    return rows


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
