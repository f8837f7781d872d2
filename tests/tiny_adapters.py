"""Random adapters on the tiny model, and questions that they answer differently."""

import json
from dataclasses import replace

import torch

from rag_ft.answering.confidence import PLAIN, threshold_record
from rag_ft.answering.prompt import PromptBuilder
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.models.compute import compute_plan
from rag_ft.models.loading import load_model
from rag_ft.models.weights import weights_identity
from rag_ft.schema import Passage

TEXT = "The quick brown fox jumps over the lazy dog. Rank sixteen adds parameters to the layer."
PASSAGES = (
    Passage(id="a", document_id="a", text=TEXT, start=0, end=len(TEXT)),
    Passage(id="b", document_id="b", text="The river bank is near. " + TEXT, start=0, end=24 + len(TEXT)),
)
REQUESTS = [ReadRequest(f"What does the {word} do?", PASSAGES) for word in ("fox", "dog", "layer", "river")]


def make_adapter(folder, base, seed, bits=32, modules=("q_proj", "v_proj"), threshold=None, scale=PLAIN):
    """A random adapter, loud enough to change answers, with a record as training writes it."""
    from peft import LoraConfig, get_peft_model

    loaded = load_model(str(base), plan=compute_plan("cpu"))
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=list(modules), init_lora_weights=False)
    get_peft_model(loaded.model, config).save_pretrained(folder)
    (folder / "rag_ft.json").write_text(
        json.dumps(
            {
                "prompt_fingerprint": PromptBuilder(loaded.tokenizer, shots=False).fingerprint,
                "shots": False,
                "base_model": {"name": "tiny", "identity": weights_identity(loaded.weights), "bits": bits},
                "examples": {"reading": "separate"},
                **({} if threshold is None else {"threshold": threshold_record(threshold, "separate", scale)}),
            }
        )
    )
    return folder


PLAN = replace(compute_plan("cpu"), dtype="float32")


def fresh(base, adapter, **settings):
    return Reader.from_pretrained(str(base), adapter=adapter, plan=PLAN, **settings)


def seen(reader):
    """Everything about a few readings, to the last bit."""
    return [(one.completion, one.confidence, one.answer_confidence) for one in reader.read_batch(REQUESTS)]
