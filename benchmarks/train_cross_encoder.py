"""Train a cross-encoder from the packaged embedder, as the packaged one was.

    python benchmarks/train_cross_encoder.py QUESTIONS.jsonl --index DIR -o OUT [--minutes 85]

QUESTIONS: records with evidence, about documents of the index. Documents of a tenth of the records are held out. A step
takes six questions, each with five passages: one that holds evidence, and four of the best twelve that the index finds
for the question and that hold none. Of an unanswerable question, and of one in twelve answerable ones, none of the five
holds evidence. The loss is the sum of three:

- the cross-entropy of choosing the passage among the five and none;
- twice the mean binary cross-entropy of each token of that passage belonging to the evidence, which for short answers
  is the sentence that holds it;
- the cross-entropy of yes, no and neither, of the passage that holds the evidence.

OUT gets the weights with a calibration that gives every answer (confidence 0); set it on questions of your own. It is
written once, at the end: a run that is killed leaves nothing.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from rag_ft.indexing.index import Index
from rag_ft.models.cross_encoder import shown_start, shown_text
from rag_ft.models.cross_encoder_network import encode_pairs, new_network, write_cross_encoder
from rag_ft.models.weights import resolve_embedder
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import split_by_document
from rag_ft.schema import Hit, Passage, Question
from rag_ft.text.sentences import sentence_spans

PASSAGES = 5
NEGATIVES_AMONG = 12
QUESTIONS_PER_STEP = 6
WITHOUT_EVIDENCE = 0.08
ENCODER_RATE, HEAD_RATE, WARMUP_STEPS = 2e-4, 1e-3, 30
EVIDENCE_WEIGHT = 2.0
DECIDED_WEIGHT, UNDECIDED_WEIGHT = 1.5, 0.3


class Example(NamedTuple):
    """A question with five passages."""

    question: Question
    passages: tuple[Passage, ...]
    """The one with the evidence first, if there is one."""
    evidence: tuple[int, int] | None
    """Where the evidence stands in the first passage as it is shown; None: no passage answers."""


def overlap(passage: Passage, question: Question) -> int:
    """Characters of the question's evidence that a passage holds, of the piece that it holds most of."""
    return max(
        (
            min(passage.end, piece.end) - max(passage.start, piece.start)
            for piece in question.evidence
            if piece.document_id == passage.document_id
        ),
        default=0,
    )


def make_example(question: Question, hits: Sequence[Hit], index: Index, rng: random.Random) -> Example | None:
    """Draw an example; None where the index holds too few passages, or none with the evidence."""
    others = [hit.passage for hit in hits if not question.answerable or overlap(hit.passage, question) <= 0]
    others = others[:NEGATIVES_AMONG]
    if len(others) < PASSAGES:
        return None
    rng.shuffle(others)
    if not question.answerable or rng.random() < WITHOUT_EVIDENCE:
        return Example(question, tuple(others[:PASSAGES]), None)
    of_document = index.passages_of(question.evidence[0].document_id)
    gold = max(of_document, key=lambda passage: overlap(passage, question), default=None)
    if gold is None or overlap(gold, question) <= 0:
        return None
    piece = max(
        (piece for piece in question.evidence if piece.document_id == gold.document_id),
        key=lambda piece: min(gold.end, piece.end) - max(gold.start, piece.start),
    )
    start, end = max(piece.start - gold.start, 0), min(piece.end - gold.start, len(gold.text))
    if question.kind == "span":
        held = [span for span in sentence_spans(gold.text) if span[0] < end and start < span[1]]
        start, end = (held[0][0], held[-1][1]) if held else (start, end)
    shift = shown_start(gold)
    return Example(question, (gold, *others[: PASSAGES - 1]), (start + shift, end + shift))


def losses(network: Any, tokenizer: Any, examples: Sequence[Example]) -> Tensor:
    """The loss of each example, (examples,)."""
    pairs = [(example.question.question, shown_text(passage)) for example in examples for passage in example.passages]
    tokens = encode_pairs(tokenizer, pairs)
    scored = network(**tokens.inputs)
    found = []
    for i, example in enumerate(examples):
        gold = i * PASSAGES
        choices = torch.cat([scored.relevance[gold : gold + PASSAGES], torch.zeros(1)])
        target = torch.tensor(PASSAGES if example.evidence is None else 0)
        loss = cross_entropy(choices[None], target[None])
        if example.evidence is not None:
            start, end = example.evidence
            inside, offsets = tokens.in_passage[gold], tokens.offsets[gold]
            labels = ((offsets[:, 0] < end) & (offsets[:, 1] > start))[inside].float()
            loss = loss + EVIDENCE_WEIGHT * binary_cross_entropy_with_logits(scored.evidence[gold][inside], labels)
            said = 0 if example.question.yes is None else 1 if example.question.yes else 2
            weight = DECIDED_WEIGHT if said else UNDECIDED_WEIGHT
            loss = loss + weight * cross_entropy(scored.says[gold][None], torch.tensor([said]))
        found.append(loss)
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=85.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    torch.manual_seed(given.seed)
    index = Index.load(given.index)
    records = [question for question in read_questions(given.questions) if question.evidence]
    split = split_by_document(records, 0.1, given.seed)
    retrieved = index.as_retriever(k=3 * NEGATIVES_AMONG).retrieve_batch([question.question for question in records])
    hits = {question.id: question_hits for question, question_hits in zip(records, retrieved, strict=True)}
    embedder = resolve_embedder()
    network, tokenizer = new_network(embedder)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("embeddings" not in name)
    encoder = [parameter for parameter in network.encoder.parameters() if parameter.requires_grad]
    heads = [parameter for name, parameter in network.named_parameters() if not name.startswith("encoder")]
    groups = [{"params": encoder, "lr": ENCODER_RATE}, {"params": heads, "lr": HEAD_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    rates = [group["lr"] for group in optimizer.param_groups]

    def examples_of(questions: Sequence[Question]) -> list[Example]:
        made = (make_example(question, hits[question.id], index, rng) for question in questions)
        return [example for example in made if example is not None]

    def held_out_loss() -> float:
        with torch.inference_mode():
            parts = [held_out[i : i + QUESTIONS_PER_STEP] for i in range(0, len(held_out), QUESTIONS_PER_STEP)]
            return float(torch.cat([losses(network, tokenizer, part) for part in parts]).mean())

    held_out = examples_of(split.held_out)[:150]
    print(f"{len(split.train):,} questions to train on, {len(held_out)} held out; loss before {held_out_loss():.3f}")
    queue: list[Example] = []
    step, begun = 0, time.monotonic()
    while (share := (time.monotonic() - begun) / 60 / given.minutes) < 1:
        while len(queue) < QUESTIONS_PER_STEP:
            queue += examples_of(rng.sample(split.train, len(split.train)))
        batch, queue = queue[:QUESTIONS_PER_STEP], queue[QUESTIONS_PER_STEP:]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / WARMUP_STEPS) * (1 - share)
        loss = losses(network, tokenizer, batch).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*encoder, *heads], 1.0)
        optimizer.step()
        step += 1
        if step % 20 == 0:
            print(f"step {step}, {share:.0%} of the time, loss {loss.item():.3f}", flush=True)
    print(f"{step} steps; loss on held-out documents {held_out_loss():.3f}")
    record = {"training": {"steps": step, "seed": given.seed}, "confidence": {"value": 0.0}, "decided_from": None}
    write_cross_encoder(given.output, network, embedder, record, "# A cross-encoder\n")


if __name__ == "__main__":
    main()
