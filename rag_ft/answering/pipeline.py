"""Question → cited answer: retrieve, read, verify. A langchain-core `Runnable`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from typing_extensions import NotRequired, TypedDict  # pydantic refuses typing's before Python 3.12

from rag_ft.answering.citation import Claim, verify
from rag_ft.answering.lists import enumerated_items, listed_answer
from rag_ft.answering.placing import place
from rag_ft.answering.reading import PassageReader, Reading, ReadRequest
from rag_ft.answering.together import together_or_apart
from rag_ft.errors import UsageError
from rag_ft.indexing.index import Index
from rag_ft.indexing.query import Query, make_query
from rag_ft.indexing.retriever import Retriever
from rag_ft.indexing.searcher import Hits
from rag_ft.indexing.sources.memory import langchain_fields
from rag_ft.schema import Answer, Citation, DeclinedAnswer, Hit, Item, Passage, Provenance, RetrievedPassage, Usage
from rag_ft.text.asking import asks_for_several

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool
    from pydantic import BaseModel


LEAST_DECLINED = 0.05
"""Confidence of declined sentences that are worth telling."""


class PipelineInput(TypedDict):
    """A question as a dictionary, for chains that pass one on."""

    question: str
    history: NotRequired[Sequence[str]]
    """Earlier questions of the conversation, oldest first."""


QuestionInput: TypeAlias = str | PipelineInput


class PipelineEvent(NamedTuple):
    """A step towards one answer; exactly one field is set."""

    passages: tuple[Hit, ...] | None = None
    text: str | None = None
    """A piece of the completion."""
    answer: Answer | None = None
    """The whole answer, last."""


class Retrieved(NamedTuple):
    """What a question was searched with, and its passages, best first."""

    query: Query
    hits: Sequence[Hit]


class Pipeline(Runnable[QuestionInput, Answer]):
    """Answers questions from an index.

    `retriever`: `Index.as_retriever(...)`, or any langchain retriever, such as that of a `VectorStore`, whose documents
    then count as passages, with the offsets that their metadata names (`rag_ft.indexing.vectorstores`). None
    suffices for `read_batch`, which takes passages that were retrieved already. `ask`, `ask_batch` and `events` are the
    plain interface; `invoke`, `batch`, `stream`, `ainvoke`, `|` and the rest come from langchain-core and take a
    question, `{"question": ...}` or `{"question": ..., "history": [...]}`. If the reader has a cross-encoder, and the
    retriever no reranker, it reranks the passages.
    """

    def __init__(self, retriever: BaseRetriever | None, reader: PassageReader) -> None:
        if isinstance(retriever, Retriever) and retriever.reranker is None and reader.reranking:
            retriever = retriever.model_copy(update=dict(reader.reranking))
        self.retriever = retriever
        self.reader = reader

    @property
    def fingerprint(self) -> str:
        """Changes with everything that decides the answers but the index, which has a fingerprint of its own."""
        parts: list[Any] = [
            *self.reader.fingerprint_parts,
            type(self.retriever).__name__,
            [str(getattr(self.retriever, name, "")) for name in ("k", "mode", "where", "word_weight", "rerank_depth")],
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def ask(
        self,
        question: str,
        *,
        history: Sequence[str] = (),
        k: int | None = None,
        adapter: str | None = None,
        threshold: float | None = None,
    ) -> Answer:
        """The answer to one question, by the reader or by another of its adapters in memory (`Reader.adapters`).

        `history`: the user's earlier questions, oldest first, if this one follows them up; `Answer.searched` says what
        was searched then. `threshold` replaces the reader's for this question. Raises UsageError, PromptTooLongError
        and what the index raises.
        """
        return self.ask_batch([question], histories=[history], k=k, adapter=adapter, threshold=threshold)[0]

    def ask_batch(
        self,
        questions: Sequence[str],
        *,
        histories: Sequence[Sequence[str]] | None = None,
        k: int | None = None,
        adapter: str | None = None,
        threshold: float | None = None,
    ) -> list[Answer]:
        """The answers in the order of the questions, retrieved and read together.

        `histories`: one per question, as `ask` takes it. `Usage` gives each question an equal share of the time.
        """
        self._reader(adapter)  # an unknown name is an error before anything is searched
        if histories is not None and len(histories) != len(questions):
            raise UsageError(
                f"there are {len(questions)} questions and {len(histories)} histories: give one for each, [] for none"
            )
        if not questions:
            return []
        start = time.perf_counter()
        retrieved = self.retrieve_batch(questions, histories=histories, k=k)
        return self.read_batch(
            [query for query, _ in retrieved],
            [hits for _, hits in retrieved],
            retrieve_seconds=time.perf_counter() - start,
            adapter=adapter,
            thresholds=[threshold] * len(questions),
        )

    def retrieve_batch(
        self,
        questions: Sequence[str],
        *,
        histories: Sequence[Sequence[str]] | None = None,
        k: int | None = None,
    ) -> list[Retrieved]:
        """The passages of each question, searched together: what `read_batch` takes."""
        pairs = zip(questions, histories or [()] * len(questions), strict=True)
        queries = [self._query(question, history) for question, history in pairs]
        return list(map(Retrieved, queries, self._retrieve(queries, k)))

    def read_batch(
        self,
        questions: Sequence[str | Query],
        hits: Sequence[Sequence[Hit]],
        *,
        retrieve_seconds: float = 0.0,
        adapter: str | None = None,
        thresholds: Sequence[float | None] | None = None,
    ) -> list[Answer]:
        """The answers from passages that were retrieved already; `retrieve_seconds` for all of them together.

        A question that was retrieved with earlier ones is given as its query (`Retriever.query`). `thresholds`: one per
        question; None stands for the reader's.
        """
        if not questions:
            return []
        start = time.perf_counter()
        reader = self._reader(adapter)
        thresholds = thresholds or [None] * len(questions)
        queries = [Query(question) if isinstance(question, str) else question for question in questions]
        readings = reader.read_batch(
            [
                ReadRequest.of_hits(query.text, question_hits, threshold)
                for query, question_hits, threshold in zip(queries, hits, thresholds, strict=True)
            ]
        )
        share = 1 / len(questions)
        seconds = (retrieve_seconds * share, (time.perf_counter() - start) * share)
        return [
            self._answer(reader, query, question_hits, reading, *seconds)
            for query, question_hits, reading in zip(queries, hits, readings, strict=True)
        ]

    def events(
        self, question: str, *, history: Sequence[str] = (), k: int | None = None, adapter: str | None = None
    ) -> Iterator[PipelineEvent]:
        """The passages as soon as they are retrieved, the completion as it comes, then the answer."""
        reader = self._reader(adapter)
        start = time.perf_counter()
        query = self._query(question, history)
        hits = self._retrieve([query], k)[0]
        retrieved = time.perf_counter()
        yield PipelineEvent(passages=tuple(hits))
        for event in reader.stream_request(ReadRequest.of_hits(question, hits)):
            if event.reading is not None:
                read = time.perf_counter()
                answer = self._answer(reader, query, hits, event.reading, retrieved - start, read - retrieved)
                yield PipelineEvent(answer=answer)
            elif event.text:
                yield PipelineEvent(text=event.text)

    def invoke(self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:
        """`ask` as a Runnable; `k` and `adapter` may be given as keywords."""
        return self._call_with_config(
            lambda question, **options: self.ask_batch(**_asked([question]), **options)[0],
            input,
            ensure_config(config),
            **kwargs,
        )

    def batch(
        self,
        inputs: list[QuestionInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Answer]:
        """`ask_batch` as a Runnable.

        With `return_exceptions` a question that fails gives its error, and the others are answered.
        """

        def together(inputs: list[QuestionInput], **options: Any) -> list[Answer | Exception]:
            if not return_exceptions:
                return list(self.ask_batch(**_asked(inputs), **options))
            return together_or_apart(inputs, lambda some: self.ask_batch(**_asked(some), **options))

        return self._batch_with_config(together, inputs, config, return_exceptions=return_exceptions, **kwargs)

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """A langchain tool that takes a `question`, which langchain cannot infer from inputs that may be strings."""
        if args_schema is None and arg_types is None:
            arg_types = {"question": str}
        return super().as_tool(args_schema, name=name, description=description, arg_types=arg_types)

    def _query(self, question: str, history: Sequence[str]) -> Query:
        if isinstance(self.retriever, Retriever):
            return self.retriever.query(question, history)
        return make_query(question, history)

    def _retrieve(self, queries: Sequence[Query], k: int | None) -> Sequence[Sequence[Hit]]:
        if isinstance(self.retriever, Retriever):
            return self.retriever.retrieve_batch(queries, k)
        if self.retriever is None:
            raise UsageError("this pipeline has no retriever: give one, or use read_batch with passages")
        options: dict[str, Any] = {} if k is None else {"k": k}
        return [
            [_hit(document, rank) for rank, document in enumerate(documents, start=1)]
            for documents in self.retriever.batch([query.joined or query.text for query in queries], **options)
        ]

    def _reader(self, adapter: str | None) -> PassageReader:
        return self.reader if adapter is None else self.reader.with_adapter(adapter)

    def _answer(
        self,
        reader: PassageReader,
        query: Query,
        hits: Sequence[Hit],
        reading: Reading,
        retrieve_s: float,
        read_s: float,
    ) -> Answer:
        start = time.perf_counter()
        passages = [hit.passage for hit in hits]
        searched = self.retriever.index if isinstance(self.retriever, Retriever) else None
        index = searched if isinstance(searched, Index) else None
        verified = _verified(reading, query.text, passages, index)
        unsure, declined = reading.declined, None
        # Words alone are not told: far fewer of them are right, and one does not see it (docs/answers.md).
        if unsure is not None and unsure.kind == "part" and unsure.confidence >= LEAST_DECLINED:
            told = _verified(unsure, query.text, passages, index)
            declined = DeclinedAnswer(
                answer=told.answer or "",
                kind=unsure.kind,
                yes=unsure.yes,
                items=told.items,
                citations=told.citations,
                confidence=min(unsure.confidence, 1.0),
            )
        return Answer(
            question=query.text,
            answer=verified.answer,
            kind=reading.kind,
            yes=reading.yes,
            items=verified.items,
            history=query.history,
            history_left_out=query.left_out,
            searched=query.joined,
            incomplete=hits.incomplete if isinstance(hits, Hits) else (),
            citations=verified.citations,
            confidence=min(max(reading.confidence, 0.0), 1.0),
            abstained=reading.abstained,
            declined=declined,
            complete=reading.complete,
            completion=reading.completion,
            passages=tuple(
                RetrievedPassage(passage=hit.passage, score=hit.score, rank=hit.rank, read=read, also_in=hit.also_in)
                for hit, read in zip(hits, reading.read, strict=True)
            ),
            usage=Usage(
                prompt_tokens=reading.prompt_tokens,
                completion_tokens=reading.completion_tokens,
                retrieve_seconds=retrieve_s,
                read_seconds=read_s,
                verify_seconds=time.perf_counter() - start,
            ),
            provenance=Provenance(
                index=index.fingerprint if index is not None else "",
                embedder=index.manifest.embedder.fingerprint if index is not None else "",
                index_path=index.place if index is not None else "",
                **reader.provenance,
            ),
        )


class _Verified(NamedTuple):
    """What was read as it is told: with the places of its quotes, and the whole of a list."""

    answer: str | None
    citations: tuple[Citation, ...] = ()
    items: tuple[Item, ...] = ()


def _verified(reading: Reading, question: str, passages: Sequence[Passage], index: Index | None) -> _Verified:
    answer = reading.answer
    if answer is None:
        return _Verified(None)
    claims = [Claim(cited.passage, cited.span) for cited in reading.cited]
    citations = verify(answer, claims, passages)
    items: tuple[Item, ...] = ()
    if index is not None and reading.kind == "part":
        listed = listed_answer(answer, citations[0], claims[0].passage, index)
        answer, citations, items = listed.answer, (listed.citation, *citations[1:]), listed.items
    elif claims and reading.kind == "span" and asks_for_several(question):
        items = enumerated_items(answer, citations[0], claims[0].passage)
    if index is not None:
        citations = tuple(place(citation, index) for citation in citations)
    return _Verified(answer, citations, items)


class _Asked(TypedDict):
    """Arguments of `ask_batch`."""

    questions: list[str]
    histories: list[Sequence[str]]


def _asked(inputs: Sequence[QuestionInput]) -> _Asked:
    """The questions of some inputs, with their histories. Raises UsageError."""
    asked = _Asked(questions=[], histories=[])
    for value in inputs:
        given: Any = {"question": value} if isinstance(value, str) else value
        if not isinstance(given, dict) or not isinstance(given.get("question"), str):
            given_instead = type(value).__name__ if not isinstance(given, dict) else "a dict without a question as text"
            raise UsageError(
                "the pipeline takes a question, {'question': ...} or {'question': ..., 'history': [...]}, not"
                f" {given_instead}"
            )
        asked["questions"].append(given["question"])
        asked["histories"].append(given.get("history", ()))
    return asked


def _hit(document: Any, rank: int) -> Hit:
    """A passage from another retriever's langchain document.

    Where its metadata does not say where the text starts in its document (`start_index`), it stands for the whole.
    """
    fields = langchain_fields(document.metadata)
    text = document.page_content
    name = str(document.metadata.get("document_id") or document.id or fields.source or f"passage-{rank}")
    given = document.metadata.get("start_index")
    start = given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else 0
    passage = Passage(
        id=str(document.id or f"{name}#{rank}"),
        document_id=name,
        text=text,
        start=start,
        end=start + len(text),
        title=fields.title,
        source=fields.source,
        page=fields.page,
    )
    score = document.metadata.get("score")
    return Hit(passage=passage, score=float(score) if isinstance(score, int | float) else 1.0 / rank, rank=rank)
