"""The model card of an adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


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
