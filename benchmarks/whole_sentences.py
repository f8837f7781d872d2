"""What whole sentences do for questions as people ask them: the handbook's, with the packaged reader.

    python benchmarks/whole_sentences.py [--questions FILE --index DIR] [--limit N]

Every question is answered three times: by the tuned generator with words of a sentence, by it with the whole sentences
around these words where the question asks for sentences, and as `rag-ft ask` answers: the cross-encoder reranks the
passages, and chooses the sentences. Printed for each tag of the questions: how many are answered, how many answers
share at least half of their words with an accepted answer (token F1 of .5), and how many cite at least half of an
accepted piece of evidence. Unanswerable questions: how many are answered. Then hit@k without and with reranking, and
the seconds per question of the generator alone and of the cross-encoder, which asks the generator about the passages,
for the questions that ask for sentences; retrieval not counted, no passage read before.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from rag_ft.answering.evidence import EvidenceReader
from rag_ft.answering.outcome import combine
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import Reading, ReadRequest
from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import token_f1
from rag_ft.metrics.kinds import overlaps_evidence
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.questions.records import read_questions
from rag_ft.schema import Hit, Question
from rag_ft.text.asking import asks_for_sentences

WAYS = ("words", "sentences", "cross-encoder")
DEPTHS = (1, 3, 5)


def cites(reading: Reading, question: Question) -> bool:
    """Whether the words cited are at least half of a piece of the question's evidence."""
    for cited in reading.cited:
        if cited.span is None:
            continue
        start, end = cited.passage.start + cited.span.start, cited.passage.start + cited.span.end
        for piece in question.evidence:
            shared = min(end, piece.end) - max(start, piece.start)
            if piece.document_id == cited.passage.document_id and 2 * shared >= piece.end - piece.start:
                return True
    return False


def holds_evidence(hits: Sequence[Hit], question: Question) -> bool:
    """Whether a passage overlaps a piece of the question's evidence."""
    return any(
        overlaps_evidence(hit.passage.document_id, hit.passage.start, hit.passage.end, question.evidence)
        for hit in hits
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, default=handbook_path() / "asked.jsonl")
    parser.add_argument("--index", type=Path, help="index of the documents; the handbook's is built if none is given")
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    questions = read_questions(given.questions)
    if given.limit is not None:
        questions = random.Random(0).sample(questions, min(given.limit, len(questions)))
    with tempfile.TemporaryDirectory() as folder:
        index = Index.load(given.index) if given.index else Index.build(handbook_path(), Path(folder) / "index")
        asked = [question.question for question in questions]
        cross_encoder = CrossEncoder.from_pretrained()
        hits = index.as_retriever(k=max(DEPTHS)).retrieve_batch(asked)
        reranked = index.as_retriever(k=max(DEPTHS), reranker=cross_encoder).retrieve_batch(asked)
    reader = Reader.from_pretrained(cross_encoder="none", passage_cache_mb=0)
    # With no scores kept from reranking.
    evidence_reader = EvidenceReader(CrossEncoder.from_pretrained(), reader.opinions)
    seconds: Counter[str] = Counter()
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: {way: Counter() for way in WAYS})
    for first in range(0, len(questions), 8):
        requests = [
            ReadRequest.of_hits(question.question, question_hits[:3])
            for question, question_hits in zip(questions[first : first + 8], hits[first : first + 8], strict=True)
        ]
        for i, (question, request) in enumerate(zip(questions[first : first + 8], requests, strict=True), start=first):
            begun = time.perf_counter()
            rows = reader.read_rows([request])[0]
            taken = {"generator": time.perf_counter() - begun}
            by_evidence = None
            if asks_for_sentences(question.question):
                best = ReadRequest.of_hits(question.question, reranked[i][:3])
                begun = time.perf_counter()
                evidence_reader.cross_encoder.score(question.question, [hit.passage for hit in reranked[i]])
                (by_evidence,) = evidence_reader.read_batch([best])
                taken["cross-encoder"] = time.perf_counter() - begun
                seconds.update({**taken, "questions": 1})
            for way in WAYS:
                whole = way != "words"
                reading = combine(rows, request.passages, reader.threshold, reader.scale, reader.kinds, whole=whole)
                if way == "cross-encoder" and by_evidence is not None:
                    reading = by_evidence
                for name in (question.tags[-1] if question.tags else "all", "all answerable"):
                    if question.answerable or name != "all answerable":
                        count = counts[name][way]
                        count["asked"] += 1
                        count["answered"] += reading.answer is not None
                        if question.answerable and reading.answer is not None:
                            count["right"] += token_f1(reading.answer, question.answers) >= 0.5
                            count["cites"] += cites(reading, question)
    print(f"{'':16}{'asked':>6}  " + "  ".join(f"{way}: answered, right, cited" for way in WAYS))
    for name, ways in sorted(counts.items()):
        figures = "  ".join(
            f"{ways[way]['answered']:>{len(way) + 10}}{ways[way]['right']:>7}{ways[way]['cites']:>7}" for way in WAYS
        )
        print(f"{name:16}{ways['words']['asked']:>6}  {figures}")
    answerable = [i for i, question in enumerate(questions) if question.answerable]
    for name, found in (("first search", hits), ("reranked", reranked)):
        shares = (sum(holds_evidence(found[i][:k], questions[i]) for i in answerable) / len(answerable) for k in DEPTHS)
        print(f"{name:16}", *(f"hit@{k} {share:.3f}" for k, share in zip(DEPTHS, shares, strict=True)))
    per_question = {name: seconds[name] / seconds["questions"] for name in ("generator", "cross-encoder")}
    print(
        f"{seconds['questions']} ask for sentences; seconds each: generator {per_question['generator']:.2f},"
        f" cross-encoder (five passages) {per_question['cross-encoder']:.2f}"
    )


if __name__ == "__main__":
    main()
