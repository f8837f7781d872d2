"""A scripted source of questions and a scripted pipeline: what they say is fixed here, and no model is asked.

Run as a program it makes questions slowly, to be killed: `python scripted_questions.py INDEX OUTPUT SECONDS`.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from fakes import HashingEmbedder

from rag_ft.answering.citation import Claim, verify
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.question_generation.source import WrittenQuestion
from rag_ft.schema import Answer, Document, Provenance, RetrievedPassage, Usage
from rag_ft.text.spans import Span

CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Hanoi", "Dakar", "Turin", "Perth")
THINGS = ("tower", "bridge", "harbour", "library", "tunnel", "market")
_PASSAGE = re.compile(r"The (?P<thing>\w+) of (?P<city>\w+) is (?P<length>\d+ metres) long .* in (?P<year>\d{4})\.")


def documents(cities=CITIES, things=THINGS):
    """A document for each city, with a paragraph for each thing."""
    texts = []
    for number, city in enumerate(cities):
        paragraphs = []
        for i, thing in enumerate(things):
            length, year = 100 + 31 * number + 7 * i, 1700 + 19 * number + i
            paragraphs.append(
                f"The {thing} of {city} is {length} metres long because a guild of {city} built it in {year}."
                f" The {thing} of {city} must be closed at night."
            )
        texts.append(Document(id=f"{city}.txt", text="\n\n".join(paragraphs), title=city))
    return texts


def build(path, docs=None):
    return Index.build(
        documents() if docs is None else docs,
        path,
        embedder=HashingEmbedder(),
        chunking=ChunkingConfig(max_tokens=40),
        progress=False,
    )


def place(text, words):
    start = text.index(words)
    return Span(start, start + len(words))


class ScriptedSource:
    """Writes questions by rules; some are bad on purpose, as the seed says."""

    fingerprint = "scripted"

    def __init__(self, seconds=0.0, bad=4):
        self.seconds, self.bad, self.requests = seconds, bad, []

    def write(self, requests):
        time.sleep(self.seconds)
        self.requests += requests
        return [self._written(request) for request in requests]

    def _written(self, request):
        text, asked_for = request.passage.text, request.asked_for
        match = _PASSAGE.search(text)
        if match is None or asked_for not in ("fact", "why", "whether"):
            return "nothing to ask"
        thing, city, length = match["thing"], match["city"], match["length"]
        first, second = text.split(". ", 1)
        if request.seed % self.bad == 0:
            return WrittenQuestion("How long is it?", place(text, length), "span", None, -1.0)
        if asked_for == "fact" and request.seed % 2:
            question = f"When was the {thing} of {city} built?"
            return WrittenQuestion(question, place(text, match["year"]), "span", None, -1.0)
        if asked_for == "fact":
            return WrittenQuestion(f"How long is the {thing} of {city}?", place(text, length), "span", None, -1.0)
        if asked_for == "why":
            question = f"Why is the {thing} of {city} as long as that of its neighbours?"
            return WrittenQuestion(question, place(text, first + "."), "part", None, -1.0)
        question = f"Must people leave the {thing} of {city} at night?"
        return WrittenQuestion(question, place(text, second), "part", True, -1.0)


class ScriptedPipeline:
    """Searches by words, and answers by rules from the first passage about the right thing; declines for Perth."""

    fingerprint = "scripted"

    def __init__(self, index, k=3):
        self.retriever = index.as_retriever(k, "bm25")
        self.asked = []

    def ask_batch(self, questions):
        self.asked += questions
        return [self._answer(question) for question in questions]

    def _answer(self, question):
        hits = self.retriever.retrieve(question)
        passage = hits[0].passage
        match = _PASSAGE.search(passage.text)
        answer, kind, yes = None, "part", None
        if match is not None and "Perth" not in question:
            first, second = passage.text.split(". ", 1)
            if question.startswith("When"):
                answer, kind = match["year"], "span"
            elif question.startswith("How long"):
                answer, kind = match["length"], "span"
            elif question.startswith("Why"):
                answer = first + "."
            else:
                answer, yes = second, True
        return answered(question, answer, hits, kind=kind, yes=yes)


def answered(question, answer, hits, *, kind="span", yes=None, passage=None):
    """A pipeline's answer, cited from the first passage or another."""
    passage = passage or (hits[0].passage if hits else None)
    claims = [Claim(passage, place(passage.text, answer))] if answer is not None else []
    return Answer(
        question=question,
        answer=answer,
        kind=kind,
        yes=yes,
        citations=verify(answer, claims, [hit.passage for hit in hits]) if answer is not None else (),
        confidence=0.9,
        abstained=answer is None,
        complete=True,
        completion="",
        passages=tuple(
            RetrievedPassage(passage=hit.passage, score=hit.score, rank=hit.rank, read=True, also_in=hit.also_in)
            for hit in hits
        ),
        usage=Usage(prompt_tokens=0, completion_tokens=0, retrieve_seconds=0, read_seconds=0, verify_seconds=0),
        provenance=Provenance(
            index="", embedder="", base_model="", adapter=None, prompt="", mode="quote", reading="separate"
        ),
    )


if __name__ == "__main__":
    from rag_ft.question_generation.make import make_questions

    index = Index.load(sys.argv[1], embedder=HashingEmbedder())
    source = ScriptedSource(seconds=float(sys.argv[3]))
    make_questions(index, 60, Path(sys.argv[2]), source=source, pipeline=ScriptedPipeline(index))
