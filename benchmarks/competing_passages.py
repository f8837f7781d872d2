"""What the passages and the spans of a question should compete by: the generator's odds, or the cross-encoder's, too.

    python benchmarks/competing_passages.py datasets/handbook/questions.jsonl indexes/handbook [--weights 0 0.5 1]
    python benchmarks/competing_passages.py PATH/TO/dev.json indexes/squad --documents Imperialism Warsaw Force

Only questions that want some words: those that ask for sentences are answered by the cross-encoder. Always answering:
F1 on answerable, the share of answers from a passage with the evidence, and F1 on answerable where 65 and 74% of the
unanswerable questions are recognised. The first row reads what the first search puts first, the next ones what the
cross-encoder does, with its log-odds of passages at some weights and without those of spans. The last ones add those of
spans at some weights.
"""

import argparse
from pathlib import Path

from rag_ft import Index, Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.metrics.retrieval import Place
from rag_ft.models import CrossEncoder
from rag_ft.questions.records import read_questions
from rag_ft.text.asking import asks_for_sentences
from rag_ft.training.scoring import judged_answers

RECOGNISED = (0.65, 0.74)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--documents", nargs="*", help="only questions about these")
    parser.add_argument("--every", type=int, default=1, help="ask every so many")
    parser.add_argument("--weights", type=float, nargs="*", default=[0.0, 0.5, 1.0], help="of passages")
    parser.add_argument("--span-weights", type=float, nargs="*", default=[0.5, 1.0])
    given = parser.parse_args()
    questions = [
        question
        for question in read_questions(given.questions)
        if not asks_for_sentences(question.question)
        and (not given.documents or any(piece.document_id in given.documents for piece in question.evidence))
    ][:: given.every]
    texts = [question.question for question in questions]
    index = Index.load(given.index)
    alone = Reader.from_pretrained(cross_encoder="none")
    cross_encoder = CrossEncoder.from_pretrained()

    def with_spans(weight: float) -> Reader:
        weighed = cross_encoder.with_record({**cross_encoder.record, "span_weight": weight})
        return Reader(alone.loaded, whole_sentences=False, cross_encoder=weighed)

    ways = {"first search": (alone, index.as_retriever(k=3).retrieve_batch(texts), 0.0)}
    reranked = index.as_retriever(k=3, reranker=cross_encoder).retrieve_batch(texts)
    ways |= {f"reranked, weight {weight:g}": (alone, reranked, weight) for weight in given.weights}
    ways |= {f"spans, too, weight {weight:g}": (with_spans(weight), reranked, 1.0) for weight in given.span_weights}
    print(f"{len(questions)} questions, {sum(question.answerable for question in questions)} answerable")
    for name, (reader, found, weight) in ways.items():
        readings = reader.read_batch(
            [
                ReadRequest(
                    text,
                    tuple(hit.passage for hit in hits),
                    0.0,
                    tuple(weight * (hit.margin or 0.0) for hit in hits),
                )
                for text, hits in zip(texts, found, strict=True)
            ]
        )
        pairs = list(zip(readings, questions, strict=True))
        right = [
            any(Place.of(cited.passage).shows(question) for cited in reading.cited)
            for reading, question in pairs
            if question.answerable
        ]
        answers = judged_answers(pairs)
        at_recall = [answers.score(answers.recognising(share, margin=False)).answerable_f1 for share in RECOGNISED]
        shown = " / ".join(f"{100 * f1:.1f}" for f1 in at_recall)
        f1 = 100 * sum(score for _, score in answers.answered) / len(answers.answered)
        print(f"{name}: F1 {f1:.1f}, right passage {sum(right) / len(right):.1%}, recognising {shown}", flush=True)


if __name__ == "__main__":
    main()
