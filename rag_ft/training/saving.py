"""The finished adapter: a PEFT folder with what it was made from and a model card, put in place whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.files import foreign_file, is_plain_file, replacing, replacing_together
from rag_ft.tuning_record import ADAPTER_RECORD
from rag_ft.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_RECORD, "README.md")
TOKENIZER_FILES = (
    r"tokenizer(_config)?\.json|tokenizer\.model|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)"
    r"|merges\.txt|chat_template\.(jinja|json)"
)
"""Names, as a pattern, of what transformers writes of a tokenizer."""
_ADAPTER_FILES = re.compile("|".join(map(re.escape, FILES)))
PACKAGES = ("rag-ft", "torch", "transformers", "peft", "trl", "bitsandbytes")
"""Whose versions decide a run's outcome."""
EXPORTED = "exported"
"""In the record of an adapter of another program that was exported: what it is a copy of."""
KEPT_STEP = "best.json"
"""In the folder of an adapter that a run keeps: the step that it is of."""


def step_of(adapter: Path) -> int:
    """The step that a kept adapter is of."""
    return int(json.loads((adapter / KEPT_STEP).read_text(encoding="utf-8"))["step"])


def save_adapter(source: Path, target: Path, record: Mapping[str, Any], card: str, base_name: str) -> None:
    """Write the adapter in `source` to `target` as `write_adapter` does."""
    from safetensors.torch import load_file

    config = json.loads((source / FILES[0]).read_text(encoding="utf-8"))
    write_adapter(load_file(source / FILES[1]), config, target, record, card, base_name)


def write_adapter(
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    target: Path,
    record: Mapping[str, Any],
    card: str,
    base_name: str,
) -> None:
    """Write an adapter at 16 bits, with PEFT's configuration, its record and its card.

    All files are written before the first one takes its place. The configuration, without which nobody takes a folder
    for an adapter, goes first and comes back last: weights are never seen beside the record of others.
    `base_name` is a hub id or a folder's name: never a path of this machine.
    """
    import torch
    from safetensors.torch import save_file

    target.mkdir(parents=True, exist_ok=True)
    halves = {name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    # Modules are a set: their order would change with every run.
    kept = {**config, "base_model_name_or_path": base_name, "target_modules": sorted(config["target_modules"])}
    with replacing_together([target / name for name in FILES]) as works:
        save_file(halves, works[1], metadata={"format": "pt"})
        for work, text in zip(
            (works[0], *works[2:]),
            (json.dumps(kept, indent=2, sort_keys=True) + "\n", json.dumps(record, indent=1) + "\n", card),
            strict=True,
        ):
            work.write_text(text, encoding="utf-8")


def write_record(folder: Path, record: Mapping[str, Any], card: str | None = None) -> None:
    """Put another record, and the card that goes with it, beside an adapter's weights. Raises OSError.

    The card goes first and comes back last: a kill leaves none, and never one that tells of another record.
    """
    names = (ADAPTER_RECORD,) if card is None else ("README.md", ADAPTER_RECORD)
    with replacing_together([folder / name for name in names]) as works:
        works[-1].write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if card is not None:
            works[0].write_text(card, encoding="utf-8")


def is_record(path: Path) -> bool:
    """Whether a file is an adapter's record that this program wrote."""
    if not is_plain_file(path):
        return False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and bool({"prompt_fingerprint", EXPORTED} & record.keys())


def foreign_in_adapter(folder: Path) -> Path | None:
    """The first thing in an adapter's folder that this program did not write there; a run's folder of measurements is
    nothing that an average or an export writes, and is not replaced by one.
    """
    if not is_record(folder / ADAPTER_RECORD):
        return folder
    return foreign_file(folder, _ADAPTER_FILES)


def draw_curves(history: Sequence[Mapping[str, float]], best_step: int | None, path: Path) -> None:
    """Training and held-out loss at their steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    train = [(one["step"], one["loss"]) for one in history if "loss" in one]
    held_out = [(one["step"], one["eval_loss"]) for one in history if "eval_loss" in one]
    width = max(1, len(train) // 40)
    smooth = [
        (train[place][0], sum(loss for _, loss in train[max(0, place - width + 1) : place + 1]) / min(width, place + 1))
        for place in range(len(train))
    ]
    axes.plot(
        *zip(*smooth, strict=True), color="#4c78a8", label=f"training (mean of {width} steps)"
    ) if smooth else None
    axes.plot(*zip(*held_out, strict=True), color="#e45756", marker="o", label="held out") if held_out else None
    if best_step is not None:
        axes.axvline(best_step, color="#999999", linestyle=":", label=f"kept: step {best_step}")
    axes.set(xlabel="step", ylabel="loss of a labelled token (nats)", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with replacing(path) as work:
        figure.savefig(work, format="png")


def model_card(record: Mapping[str, Any], base_name: str) -> str:
    """The README of an adapter folder, with the front matter that model hubs read."""
    lora, training, data = record["lora"], record["training"], record["data"]
    certificate, verdict, averaged = record["certificate"], record["verdict"], record.get("averaged", ())
    lines = [
        "---",
        f"base_model: {base_name}",
        "library_name: peft",
        "pipeline_tag: text-generation",
        f"license: {record['licence']}",
        "tags: [rag, lora, qlora, trl, sft, question-answering]",
        "---",
        "",
        "# A reader that answers from passages in JSON, with citations",
        "",
        "A LoRA adapter made by rag_ft. It reads numbered passages and a question and replies"
        ' `{"answer": "words of a passage", "citations": [n]}`, or null. Ask through rag_ft, which builds the prompt'
        " that it was trained on; PEFT and vLLM load the folder as it is.",
        "",
        "## Data",
        "",
        record["data_note"],
        "",
        f"{data['train_questions']:,} questions about {data['train_documents']:,} documents were trained on,"
        f" {data['held_out_questions']:,} about {data['held_out_documents']:,} other documents held out"
        f" ({certificate['null_share']:.0%} of {certificate['examples']:,} examples have the target null).",
        "",
        "## Settings",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in {**lora, **({} if averaged else training)}.items()),
        "",
        "## Verdict",
        "",
        f"{verdict['outcome']}: {verdict['sentence']}.",
        "",
        *_curves(record["history"]),
        *_averaged(averaged),
    ]
    if record.get("results"):
        lines += [
            "## Results on the held-out documents",
            "",
            "| reader | questions | F1, made to answer | F1 of the answerable | unanswerable recognised |",
            "|---|---|---|---|---|",
        ]
        for name, result in record["results"].items():
            cells = [_percent(result.get(key)) for key in ("must_answer_f1", "answerable_f1", "null_recognised")]
            lines.append(f"| {name} | {result['questions']} | " + " | ".join(cells) + " |")
        lines.append("")
    chosen = record.get("threshold", {}).get("chosen_on")
    if chosen:
        wanted = chosen.get("recognise")
        how = "is sure to recognise" if chosen.get("margin", True) else "recognises"
        rule = "" if wanted is None else f" as the lowest that {how} {wanted:.0%} of the unanswerable"
        lines += [
            "## Threshold",
            "",
            f"An answer less sure than {record['threshold']['value']:.2f} becomes null: chosen{rule} on"
            f" {chosen['questions']} questions with {chosen['k']} retrieved passages each, where it gives F1"
            f" {_percent(chosen['answerable_f1'])} on the answerable and recognises"
            f" {_percent(chosen['null_recognised'])}% of the unanswerable"
            f" ({_percent(chosen['must_answer_f1'])} when made to answer).",
            "",
        ]
    lines += [
        "## Limits",
        "",
        "English prose; answers are short spans. A real quote may still not answer the question. The reader may recite"
        " what it was trained on: removing a document from an index does not remove it from an adapter.",
        "",
    ]
    return "\n".join(lines)


def card_body(card: str) -> str:
    """A card without its front matter, if it has one."""
    return card.split("\n---", 1)[1].lstrip("-\n") if card.startswith("---") and "\n---" in card else card


def _curves(history: Sequence[Mapping[str, float]]) -> list[str]:
    """The losses where the held-out one was measured, as a table; the training loss since the measurement before."""
    lines, since = [], []
    for one in history:
        if "loss" in one:
            since.append(one["loss"])
        if "eval_loss" in one:
            train = f"{sum(since) / len(since):.3f}" if since else "–"
            lines.append(f"| {one['step']:.0f} | {train} | {one['eval_loss']:.3f} |")
            since = []
    return ["| step | training loss | held-out loss |", "|---|---|---|", *lines, ""] if lines else []


_MEMBER_SETTINGS = ("epochs", "learning_rate", "row_tokens", "rows_per_step", "bits", "seed")


def _averaged(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """The adapters that one is the mean of, as a table; nothing where there are none."""
    lines = [
        f"| adapter | {' | '.join(_MEMBER_SETTINGS)} | step | verdict |",
        "|---" * (len(_MEMBER_SETTINGS) + 3) + "|",
        *(
            f"| {one['fingerprint'][:12]} | "
            + " | ".join(str(one["training"].get(name, "")) for name in _MEMBER_SETTINGS)
            + f" | {one['kept_step']} | {one['verdict']['outcome']} |"
            for one in members
        ),
        "",
    ]
    return lines if members else []


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
