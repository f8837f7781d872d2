"""Train a cross-encoder on sentences and on the words of short answers, as the packaged one was.

    python benchmarks/training_records.py PATH/TO/data RECORDS
    python benchmarks/documentation_records.py PATH/TO/data DOCUMENTATION --other-files 60 --headings 15
    python benchmarks/cross_encoder_records.py RECORDS DOCUMENTATION MIXED
    rag-ft index build MIXED/documents.jsonl MIXED/index
    rag-ft index build RECORDS/documents.jsonl RECORDS/index
    python benchmarks/train_cross_encoder.py MIXED RECORDS OUTPUT

Of MIXED all questions, which keep what the start knows: those for sentences with three passages each, the others with
two. Of RECORDS the questions for a few words that are not among them: every third with two passages, the others with
the one that answers, which is what finding words is learned from. The run goes on from the packaged cross-encoder.
Killed and called again, it goes on from its checkpoint. OUTPUT/cross_encoder.json then has the calibration of the
start, which `benchmarks/sentence_confidence.py` fits anew.
"""

from __future__ import annotations

import argparse
import logging
import random
from pathlib import Path

from rag_ft.answering.encoder_alone import best_words
from rag_ft.environment import packaged_cross_encoder_path
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import token_f1
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.models.cross_encoder_files import read_record, write_cross_encoder
from rag_ft.models.cross_encoder_network import changes_since
from rag_ft.models.weights import resolve_embedder
from rag_ft.questions.records import read_questions
from rag_ft.schema import Question
from rag_ft.training.cross_encoder.config import CrossEncoderConfig, Rates
from rag_ft.training.cross_encoder.examples import PairSource, pair_sources
from rag_ft.training.cross_encoder.trainer import PairTrainer

CONFIG = CrossEncoderConfig(epochs=1, questions_per_step=12, passages=2, without_evidence=0.05, seed=3)
RATES = Rates(encoder=1.5e-4, heads=1e-3)
SHARES = {"faq": 0.0, "squad1": 0.4, "policy": 0.5}
"""Share of RECORDS' questions of a set that are used, by the beginnings of document ids; all of the others."""


def set_of(question: Question) -> str:
    """The set that a question is of."""
    return question.evidence[0].document_id.split("/")[0]


def sources_of(mixed: Path, records: Path) -> tuple[list[PairSource], list[PairSource]]:
    """What is trained on, and what states are measured on."""
    chooser = random.Random(CONFIG.seed)
    asked = read_questions(mixed / "questions.jsonl")
    known = {question.id for question in asked}
    words = [
        question
        for question in read_questions(records / "questions.jsonl")
        if question.kind == "span" and question.id not in known and chooser.random() < SHARES.get(set_of(question), 1.0)
    ]
    chosen = [question for question in read_questions(records / "chosen.jsonl") if question.kind == "span"]
    index = Index.load(records / "index")
    train = [
        source._replace(shown=3 if source.question.kind == "part" else 2)
        for source in pair_sources(asked, Index.load(mixed / "index"), CONFIG).sources
    ]
    train += [
        source._replace(shown=2 if chooser.random() < 0.3 or source.gold is None else 1)
        for source in pair_sources(words, index, CONFIG).sources
    ]
    return train, [
        source
        for source in pair_sources(chooser.sample(chosen, min(600, len(chosen))), index, CONFIG).sources
        if source.words is not None
    ]


def words_f1(cross_encoder: CrossEncoder, sources: list[PairSource]) -> float:
    """The mean F1 of the likeliest words of the passage that answers."""
    total = 0.0
    for source in sources:
        assert source.gold is not None
        (scores,) = cross_encoder.score(source.text, [source.gold])
        best = best_words(source.text, source.gold, scores)
        if best is not None:
            total += token_f1(source.gold.text[best.span.start : best.span.end], source.question.answers)
    return total / len(sources)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mixed", type=Path)
    parser.add_argument("records", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    train, held_out = sources_of(options.mixed, options.records)
    print(f"{len(train):,} questions; words of {len(held_out)} others are looked for", flush=True)
    start = CrossEncoder.from_pretrained()
    work = options.output / "training"
    work.mkdir(parents=True, exist_ok=True)

    def measured() -> tuple[float, dict[str, float]]:
        f1 = words_f1(CrossEncoder(start.network.eval(), start.tokenizer, None, {}), held_out)
        print(f"F1 of the words {f1:.3f}", flush=True)
        return f1, {"words_f1": f1}

    trainer = PairTrainer(start.network, start.tokenizer, train, CONFIG, RATES, work, measured, keep_start=False)
    trained = trainer.train(lambda progress: print(progress.done, progress.total, dict(progress.figures), flush=True))
    if trained.best is not None:
        trainer.load(trained.best)
    embedder = resolve_embedder()
    record = {**read_record(packaged_cross_encoder_path()), "span_weight": 1.0}
    write_cross_encoder(options.output, changes_since(embedder, start.network, CONFIG.rank), embedder, record, "")
    print(options.output)


if __name__ == "__main__":
    main()
