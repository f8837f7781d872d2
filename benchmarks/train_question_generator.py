"""Train a question generator, as the packaged one was.

    python benchmarks/train_question_generator.py QUESTIONS.jsonl DOCUMENTS.jsonl -o OUT [--rate 5e-4] [--start DIR]

QUESTIONS: records with evidence in DOCUMENTS, which are documents as `corpus.read_corpus` gives them. The run starts
from the packaged reader, so that the answer is as good as the reader's, and learns the question before it as well; or
from a generator. Documents of 4% of the records are held out. Killed and called again, it goes on from its newest
checkpoint.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from pathlib import Path

from rag_ft.answering.prompt import PromptBuilder, reader_budget
from rag_ft.indexing.chunking import Chunker, ChunkingConfig
from rag_ft.indexing.corpus import document_fingerprint
from rag_ft.indexing.embedding import load_embedder
from rag_ft.models.weights import weights_identity
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import documents_of, split_by_document
from rag_ft.schema import FINGERPRINT, Document, Passage
from rag_ft.training.data.collator import pack
from rag_ft.training.data.question_examples import encode_with_questions, question_examples
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.saving import save_adapter
from rag_ft.training.start import read_start
from rag_ft.training.steps import setup, trainer
from rag_ft.training.steps.config import TrainConfig

HELD_OUT = 0.04
WINDOW, PROMPT_TOKENS, COMPLETION_TOKENS = 2048, 1024, 160


def passages_of(path: Path, wanted: frozenset[str]) -> dict[str, list[Passage]]:
    """Passages of the documents of a JSONL file, cut as an index cuts them."""
    chunker = Chunker(ChunkingConfig(), load_embedder("default").count_tokens)
    documents = (Document.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {document.id: list(chunker.passages(document)) for document in documents if document.id in wanted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("documents", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--rank", type=int, default=0, help="0: start from --start; else a new adapter.")
    parser.add_argument("--start", default="packaged", help="Adapter to start from; default: the packaged reader.")
    parser.add_argument("--bits", type=int, choices=(4, 32), default=32, help="How the base is held, as its reader's.")
    parser.add_argument("--licence", default="other")
    parser.add_argument("--data-note", default="The question records and documents of whoever trained it.")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    config = TrainConfig(epochs=options.epochs, learning_rate=options.rate, evaluations=6, bits=options.bits)
    split = split_by_document(read_questions(options.questions), HELD_OUT, 0)
    passages = passages_of(options.documents, documents_of([*split.train, *split.held_out]))
    train, held_out = (question_examples(side, passages) for side in (split.train, split.held_out))
    loaded = setup.load_base("default", config)
    prompts = PromptBuilder(loaded.tokenizer, shots=False)
    budget = reader_budget(prompts, WINDOW, PROMPT_TOKENS, COMPLETION_TOKENS)
    rows = pack(encode_with_questions(train, prompts, budget), config.row_tokens, 0)
    held_out_rows = pack(encode_with_questions(held_out, prompts, budget), config.row_tokens, 0)
    tokens = sum(len(row.input_ids) for row in rows)
    print(f"{len(train):,} questions in {len(rows):,} rows, {tokens:,} tokens; {len(held_out)} held out", flush=True)

    start = read_start(options.start) if options.rank == 0 else None
    lora = start.with_dropout(None) if start is not None else AdapterConfig(rank=options.rank)
    model = setup.adapt(loaded, lora, config, start=None if start is None else start.weights)
    work = options.output / "run"
    history = trainer.train_rows(
        model,
        loaded.tokenizer,
        rows,
        held_out_rows,
        config,
        work,
        on_progress=lambda progress: print(progress.done, progress.total, dict(progress.figures), flush=True),
    )
    documents = documents_of(split.train)
    fingerprints = {
        document_fingerprint(document)[:FINGERPRINT]
        for document in map(Document.model_validate_json, options.documents.read_text(encoding="utf-8").splitlines())
        if document.id in documents
    }
    record = {
        "prompt_fingerprint": prompts.fingerprint,
        "shots": False,
        "kinds": sorted({"part" if example.leads else "span" for example in train}),
        "writes_questions": True,
        "licence": options.licence,
        "data_note": options.data_note,
        "base_model": {
            "name": loaded.weights.name,
            "identity": weights_identity(loaded.weights),
            "bits": config.bits,
        },
        "started_from": None if start is None else {"name": start.weights.name},
        "data": {
            "train_questions": len(train),
            "held_out_questions": len(held_out),
            "train_documents": len(documents),
            "first_words": dict(Counter(example.question.split()[0].lower() for example in train).most_common(12)),
            "document_fingerprints": sorted(fingerprints),
        },
        "lora": {**lora.model_dump(mode="json"), "alpha": lora.effective_alpha, "scale": lora.scale},
        "training": config.model_dump(mode="json"),
        "history": [measured for measured in history if "eval_loss" in measured],
    }
    kept = work / "best" if (work / "best").is_dir() else work / "last"
    save_adapter(kept, options.output, record, "", loaded.weights.name)
    print(options.output)


if __name__ == "__main__":
    main()
