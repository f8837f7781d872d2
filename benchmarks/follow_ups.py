"""How often the right passage is found for a follow-up: searched alone, joined to earlier questions, or both mixed.

    python benchmarks/follow_ups.py
    python benchmarks/follow_ups.py --doqa cooking-dev.json --turns 1 2 3 5
    python benchmarks/follow_ups.py --reader

The first asks the handbook's follow-ups (`datasets/handbook/follow-ups.jsonl`), and then its other questions after
questions about other pages, as somebody does who changes the subject without saying so. The second asks the later
questions of the dialogues of a file of DoQA (Campos et al., ACL 2020), over all its texts. A passage is right if it
overlaps the evidence. The third asks the packaged reader the handbook's answerable follow-ups, worded in several ways,
with the same passages and abstention off.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from retrieval import Remembering

from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.environment import handbook_path, handbook_questions_path
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.index import Index
from rag_ft.indexing.query import Query
from rag_ft.indexing.retriever import Retriever
from rag_ft.metrics.answers import exact_match, token_f1
from rag_ft.questions.records import read_questions
from rag_ft.schema import Document, Evidence, Hit, Question

DEPTHS = (1, 3, 5, 10)
OWN_WEIGHTS = (0.0, 0.2, 0.3, 0.4, 0.5, 1.0)
"""0 searches the joined text alone, 1 the follow-up alone."""
CHANGED_AFTER = 3


class AskedSet(NamedTuple):
    name: str
    documents: list[Document]
    questions: list[Question]


def handbook_sets() -> list[AskedSet]:
    """The handbook's follow-ups; its other questions, each after three about other pages; and those in full words."""
    documents = read_corpus(handbook_path()).read_all().documents
    records = read_questions(handbook_questions_path())
    follow_ups = read_questions(handbook_path() / "follow-ups.jsonl")
    whole = {record.id: record.question for record in records}
    in_full = [
        record.model_copy(update={"question": whole[record.id.removesuffix("-follow-up")], "history": ()})
        for record in follow_ups
    ]
    answerable = [record for record in records if record.answerable]
    chooser = random.Random(0)
    changed = []
    for record in answerable:
        others = [other for other in answerable if not documents_of(other) & documents_of(record)]
        turns = tuple(other.question for other in chooser.sample(others, CHANGED_AFTER))
        changed.append(record.model_copy(update={"history": turns}))
    return [
        AskedSet("follow-ups of the handbook", documents, follow_ups),
        AskedSet("the same, asked in full words", documents, in_full),
        AskedSet("the handbook's questions after three about other pages", documents, changed),
    ]


def documents_of(question: Question) -> set[str]:
    return {piece.document_id for piece in question.evidence}


def doqa_set(path: Path) -> AskedSet:
    """All texts of a file of DoQA, and its answerable questions that are not the first of their dialogue."""
    texts: dict[str, str] = {}
    questions: list[Question] = []
    for thread in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in thread["paragraphs"]:
            name = texts.setdefault(paragraph["context"], f"text-{len(texts)}")
            history: list[str] = []
            for turn in paragraph["qas"]:
                answer = next(iter(turn["answers"]), None)
                if history and answer and answer["text"].strip() and not turn["is_impossible"]:
                    start, text = answer["answer_start"], answer["text"]
                    piece = Evidence(document_id=name, start=start, end=start + len(text), quote=text)
                    questions.append(
                        Question(
                            id=f"{name}-{len(questions)}",
                            question=turn["question"],
                            history=tuple(history),
                            answers=(text,),
                            evidence=(piece,),
                        )
                    )
                history.append(turn["question"])
    documents = [Document(id=name, text=text) for text, name in texts.items()]
    return AskedSet(f"later questions of {path.name}", documents, questions)


def is_right(hit: Hit, question: Question) -> bool:
    return any(
        piece.document_id == hit.passage.document_id and piece.start < hit.passage.end and hit.passage.start < piece.end
        for piece in question.evidence
    )


def hits_at(index: Index, questions: Sequence[Question], own_weight: float, turns: int) -> list[float]:
    """Share of the questions with a right passage among the first 1, 3, 5 and 10."""
    retriever = Retriever(index=index, k=DEPTHS[-1], own_weight=own_weight)
    queries = [Query(question.question, question.history[-turns:] if turns else ()) for question in questions]
    ranks = [
        next((hit.rank for hit in hits if is_right(hit, question)), DEPTHS[-1] + 1)
        for question, hits in zip(questions, retriever.retrieve_batch(queries), strict=True)
    ]
    return [sum(rank <= depth for rank in ranks) / len(ranks) for depth in DEPTHS]


def follow_up(question: Question, whole: Question) -> str:
    return question.question


def without_and(question: Question, whole: Question) -> str:
    rest = re.sub(r"^(and|but|so)\b[ ,]*", "", question.question, flags=re.IGNORECASE)
    return rest[:1].upper() + rest[1:]


def after_other_words(question: Question, whole: Question) -> str:
    words = re.findall(r"[^\s,;:?!()\"]+", question.history[-1])
    new = [word for word in words if word.lower() not in LITTLE and word.lower() not in question.question.lower()]
    return f"{' '.join(new)}: {question.question}"


def after_the_earlier(question: Question, whole: Question) -> str:
    return f"{question.history[-1]} {question.question}"


def in_full_words(question: Question, whole: Question) -> str:
    return whole.question


WORDINGS = [follow_up, without_and, after_other_words, after_the_earlier, in_full_words]
LITTLE = frozenset(
    "a an the of to in on at for with by from as is are was were be do does did has have had can could should would"
    " will i you we they he she it its their this that these those what which who whom whose when where why how many"
    " much often more most than then there if and or but not no so into over under per each any all some".split()
)


def read_follow_ups(index: Index, asked: AskedSet, in_full: AskedSet) -> None:
    """Print F1 and exact matches of the packaged reader for each wording."""
    reader = Reader.from_pretrained(threshold=0.0)
    retriever = index.as_retriever(k=3)
    pairs = [pair for pair in zip(asked.questions, in_full.questions, strict=True) if pair[0].answerable]
    hits = retriever.retrieve_batch([retriever.query(question.question, question.history) for question, _ in pairs])
    print(f"{len(pairs)} answerable follow-ups\n\n| the reader is asked | F1 | exact |\n|---|---|---|", flush=True)
    for wording in WORDINGS:
        requests = [
            ReadRequest(wording(*pair), tuple(hit.passage for hit in found))
            for pair, found in zip(pairs, hits, strict=True)
        ]
        answers = [
            reading.answer for i in range(0, len(requests), 8) for reading in reader.read_batch(requests[i : i + 8])
        ]
        scores = [token_f1(answer, question.answers) for answer, (question, _) in zip(answers, pairs, strict=True)]
        exact = sum(exact_match(answer, question.answers) for answer, (question, _) in zip(answers, pairs, strict=True))
        print(
            f"| {wording.__name__.replace('_', ' ')} | {100 * sum(scores) / len(scores):.1f} | {exact:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--doqa", type=Path, help="a file of DoQA, instead of the handbook")
    parser.add_argument(
        "--turns", nargs="*", type=int, default=[3], help="how many of the last earlier questions to use"
    )
    parser.add_argument("--reader", action="store_true", help="ask the packaged reader instead")
    given = parser.parse_args()
    sets = [doqa_set(given.doqa)] if given.doqa else handbook_sets()
    with tempfile.TemporaryDirectory() as folder:
        embedder = Remembering(load_embedder("default"))
        index = Index.build(sets[0].documents, Path(folder) / "index", embedder=embedder, progress=False)
        if given.reader:
            read_follow_ups(index, *handbook_sets()[:2])
            return
        for name, _, questions in sets:
            print(f"\n{name}: {len(questions)} questions, {len(index)} passages\n")
            print("| earlier questions | weight of its own ranking | " + " | ".join(f"hit@{k}" for k in DEPTHS) + " |")
            print("|" + "---|" * (2 + len(DEPTHS)), flush=True)
            rows = [(0, 1.0), *((turns, weight) for turns in given.turns for weight in OWN_WEIGHTS[:-1])]
            for turns, weight in rows if any(question.history for question in questions) else rows[:1]:
                cells = " | ".join(f"{share:.3f}" for share in hits_at(index, questions, weight, turns))
                print(f"| {turns} | {weight} | {cells} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
