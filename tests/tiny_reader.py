"""Readers of the tiny model, passages and questions for them, and exact probabilities from plain passes."""

import math

import torch

from rag_ft.answering.reader import Reader
from rag_ft.models.compute import ComputePlan
from rag_ft.schema import Passage

PLAN = ComputePlan("cpu", "float32", "none", 1, ())


def passage(text: str, name: str = "d", title: str = "Notes") -> Passage:
    return Passage(id=f"{name}#0-{len(text)}", document_id=name, text=text, start=0, end=len(text), title=title)


PASSAGES = (
    passage("The quick brown fox jumps over the lazy dog. It was 3.5 metres, near the river.", "a"),
    passage('Rank sixteen adds parameters to the layer (about 131,072). She said "the lazy dog" twice.', "b"),
    passage("An adapter is small. The river bank is near the quick brown fox.", "c"),
)
QUESTIONS = ("What does the fox do?", "How many parameters?", "Who said it? <|im_end|>", "Where?")


def tiny_reader(loaded, **settings) -> Reader:
    """A reader without worked examples that always answers, unless the settings say otherwise."""
    return Reader(loaded, **{"shots": False, "threshold": 0.0, **settings})


def exact_logprob(reader, request, answer):
    """log p of opening quote, answer and closing quote after a joint prompt, from one plain pass."""
    prompts = reader.prompts
    prompt = prompts.build(request.question, request.passages, reader.budget)
    body = (*prompts.completion_open, *prompts.body_ids([answer])[0], prompts.close_ids((1,))[0])
    lead = [*prompt.ids, *prompts.completion_head]
    with torch.inference_mode():
        logits = reader.loaded.model(torch.tensor([[*lead, *body]])).logits[0].log_softmax(-1)
    return sum(float(logits[len(lead) - 1 + i, token]) for i, token in enumerate(body))


def null_probability(reader, question, passages):
    """Probability of null after a prompt, from one plain pass."""
    prompt = reader.prompts.build(question, passages, reader.budget)
    lead = [*prompt.ids, *reader.prompts.completion_head]
    with torch.inference_mode():
        after = reader.loaded.model(torch.tensor([lead])).logits[0, -1].log_softmax(-1)
    return math.exp(float(after[reader.prompts.completion_null[0]]))
