"""Question + passages → what the model answers, how sure it is, and which passage it cites.

Three modes. `quote`: the answer is a span of a passage, found by searching all spans at once (`decoding/quote.py`).
`schema`: any text in valid JSON; `free`: whatever the model writes, parsed strictly (`decoding/generate.py`). Two ways
of reading: `joint` (all passages in one prompt) and `separate` (each passage in a prompt of its own; answers and null
compete, and the sentence of the best answer is read once more on its own). `outcome.py` makes one reading of it all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from pydantic import JsonValue
from typing_extensions import Unpack

from rag_ft.answering import completion
from rag_ft.answering.confidence import at_threshold
from rag_ft.answering.config import (
    ReaderConfig,
    ReaderSettings,
    adapt_config,
    gives_sentences,
    takes_cross_encoder,
)
from rag_ft.answering.decoding.batch import BatchRunner
from rag_ft.answering.decoding.candidates import CandidateFinder
from rag_ft.answering.decoding.encoder_spans import EncoderSpans
from rag_ft.answering.decoding.generate import TokenDecoder
from rag_ft.answering.decoding.prompt_rows import PromptRow, PromptRows
from rag_ft.answering.decoding.quote import QuoteSearch
from rag_ft.answering.evidence import EvidenceReader
from rag_ft.answering.forward.decoder import Decoder
from rag_ft.answering.forward.prefix_cache import PrefixCache
from rag_ft.answering.opinions import Opinions
from rag_ft.answering.outcome import combine
from rag_ft.answering.prompt import PromptBuilder, reader_budget
from rag_ft.answering.reading import ReaderProvenance, Reading, ReadRequest, StreamEvent
from rag_ft.errors import UsageError
from rag_ft.metrics.kinds import judged_kind
from rag_ft.models.adapter_record import reading_record
from rag_ft.models.adapter_slots import AdapterSlot, AdapterSlots, adapter_folder
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.models.cross_encoder_files import cross_encoder_beside
from rag_ft.models.weights import NO_ADAPTER, PACKAGED, Weights, chosen_adapter
from rag_ft.schema import AnswerKind, Passage

if TYPE_CHECKING:
    from torch import Tensor

    from rag_ft.models.compute import ComputePlan
    from rag_ft.models.loading import LoadedModel


class RerankingFields(TypedDict, total=False):
    """Fields of a `Retriever`."""

    reranker: CrossEncoder


class ReaderFamily:
    """What the readers of one base model share: weights, settings, cache, and the readers, one per adapter."""

    def __init__(self, loaded: LoadedModel, settings: ReaderSettings, prompts: PromptBuilder | None) -> None:
        self.settings = settings
        self.config = ReaderConfig(**settings)
        self.prompts = prompts
        self.slots: AdapterSlots = loaded.shared
        self.passage_cache = PrefixCache(self.config.passage_cache_mb * 2**20)
        self.cross_encoder: CrossEncoder | None = None
        self.sentences_only = False
        """Whether the cross-encoder serves only readers that give whole sentences: it was not chosen for this family,
        and is loaded with the first adapter that gives them."""
        self.readers: dict[str, Reader] = {}
        self.lock = threading.Lock()
        """Held to look up or add a reader."""
        self._loaded = loaded

    def loaded_with(self, adapter: Weights | None) -> LoadedModel:
        """The model in memory as it is under an adapter."""
        return replace(self._loaded, adapter=adapter)


class FamilyMember(NamedTuple):
    """Which adapter of a family a reader reads with."""

    family: ReaderFamily
    name: str
    slot: AdapterSlot


class Reader:
    """A base model, with an adapter or without, that answers from passages.

    Readers of one base can be used from several threads: each pass through the model has its own adapter.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        prompts: PromptBuilder | None = None,
        member: FamilyMember | None = None,
        cross_encoder: CrossEncoder | None = None,
        sentences_only: bool = False,
        **settings: Unpack[ReaderSettings],
    ) -> None:
        """`settings`: the fields of `ReaderConfig`. `prompts`: build prompts with these instead of the adapter's.

        `member`: join the readers of a base in memory, as `with_adapter` does. `cross_encoder`: helps to choose spans,
        and chooses the sentences that answer how, why, yes or no, unless `whole_sentences` is False; with
        `sentences_only`, not for an adapter that was tuned to do so itself.
        Raises UsageError, WeightsError, PromptMismatchError.
        """
        if member is None:
            family = ReaderFamily(loaded, settings, prompts)
            family.cross_encoder, family.sentences_only = cross_encoder, sentences_only
            member = FamilyMember(family, family.slots.start, family.slots.get(family.slots.start))
            family.readers[member.name] = self
        self._member = member
        self.adapter: str = member.name
        """Name of the adapter that it reads with; `none` for the untuned base."""
        self.loaded = loaded
        self.config = member.family.config
        """The settings as they were given."""
        adapted = adapt_config(self.config, loaded, prompts)
        self.mode = self.config.mode
        self.max_answer_tokens = self.config.max_answer_tokens
        self.reading = adapted.reading
        self._threshold = adapted.threshold
        self.trained_threshold = adapted.trained_threshold
        self.scale = adapted.scale
        """Turns the reader's own probability of an answer into the probability that the answer is right."""
        self.kinds = adapted.kinds
        """Kinds of answers that have a threshold and a scale of their own, instead of `threshold` and `scale`."""
        self.whole_sentences = adapted.whole_sentences
        """Whether spans become whole sentences where the question asks for them."""
        takes = adapted.whole_sentences if member.family.sentences_only else takes_cross_encoder(self.config)
        self.cross_encoder = member.family.cross_encoder if takes else None
        """Helps to choose spans, and chooses the sentences that answer how, why, yes or no; a `Pipeline` reranks
        passages with it, too."""
        self.prompts = adapted.prompts
        self.passage_cache = member.family.passage_cache
        """What is kept of passages already read, shared by all readers of this base."""
        self.decoder = Decoder(loaded, self._activate_adapter, self.passage_cache, member.slot.slot)
        self.budget = reader_budget(
            self.prompts, self.decoder.window, self.config.max_prompt_tokens, self.max_answer_tokens
        )
        candidates = CandidateFinder(self.prompts, self.max_answer_tokens, self.passage_cache)
        self._rows = PromptRows(self.prompts, self.decoder, self.budget, self.mode)
        self._tokens = TokenDecoder(self._rows, self.prompts, self.decoder, candidates, self.budget, self.config)
        searches = self.mode == "quote" and self.config.decoding == "search"
        spans = EncoderSpans.recorded(self.cross_encoder)
        self.batches = BatchRunner(
            self._rows,
            QuoteSearch(self._rows, self.prompts, candidates, parts=adapted.parts, encoder=spans)
            if searches
            else self._tokens,
            searches=searches,
            second_look=self.mode == "quote" and self.reading == "separate",
        )
        self.opinions = Opinions(self._rows, self.batches, self.scale)
        self._evidence: EvidenceReader | None = None
        if self.cross_encoder is not None and self.config.whole_sentences is not False:
            # Only a calibrated adapter's probabilities mean what those did that the record was fitted with.
            self._evidence = EvidenceReader(self.cross_encoder, None if self.scale.plain else self.opinions)
            if self.config.threshold is not None:
                self._evidence.threshold = self.config.threshold

    @classmethod
    def from_pretrained(
        cls,
        name: str = "default",
        *,
        adapter: str | Path | None = None,
        adapters: Mapping[str, str | Path] | None = None,
        plan: ComputePlan | None = None,
        cross_encoder: str | Path | None = None,
        **settings: Unpack[ReaderSettings],
    ) -> Reader:
        """A reader by the name of its base model: `default`, a local folder, or a hub id; `adapter` is a LoRA folder.

        Without an adapter given the default reader uses the packaged one; `adapter="none"` leaves it untuned.
        `adapters`: further adapters on the same base, name → folder, `packaged` or `none`; see `with_adapter`.
        `cross_encoder`: the folder of one, `packaged` or `none`. None takes the one in the adapter's folder, which was
        tuned beside it, else the packaged one where the adapter's record asks for whole sentences. All of the
        `adapters` share it.

        `settings` are the fields of `ReaderConfig`, all optional: `mode`, `reading`, `threshold`, `max_prompt_tokens`,
        `max_answer_tokens`, `shots`, `decoding`, `temperature`, `seed`, `passage_cache_mb`, `whole_sentences`. Raises
        WeightsError, UsageError, PromptMismatchError.
        """
        from rag_ft.models.loading import load_model

        chosen = chosen_adapter(name, adapter)
        if chosen is not None and str(chosen) == PACKAGED:
            chosen = adapter_folder(chosen)
        config = ReaderConfig(**settings)
        scorer = _named_cross_encoder(cross_encoder, config)  # first: an error should not wait for the base model
        loaded = load_model(name, adapter=chosen, plan=plan, only_read=True)
        by_default = False
        if cross_encoder is None:
            scorer = _cross_encoder_beside(loaded.adapter, config)
            by_default = scorer is None  # then added adapters may want one, too
        if by_default and gives_sentences(config, reading_record(loaded.weights, loaded.adapter)):
            scorer = CrossEncoder.from_pretrained()
        reader = cls(loaded, cross_encoder=scorer, sentences_only=by_default, **settings)
        for added, folder in (adapters or {}).items():
            reader.add_adapter(added, folder)
        return reader

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters in memory, the one it was loaded with first; `none` always works and is not listed.

        The first one is called `packaged`, or as its folder.
        """
        return self._member.family.slots.names

    def add_adapter(self, name: str, folder: str | Path) -> None:
        """Load another adapter onto the same base weights; `folder` may be `packaged`.

        Adding the same adapter again under its name changes nothing. Raises UsageError where another adapter has the
        name, WeightsError where it was trained on another base or on other values of it, PromptMismatchError.
        """
        family = self._member.family
        tuned = family.slots.checked(name, folder)
        adapted = adapt_config(family.config, family.loaded_with(tuned), family.prompts)  # checks its prompt
        if family.sentences_only and family.cross_encoder is None and adapted.whole_sentences:
            family.cross_encoder = CrossEncoder.from_pretrained()
        family.slots.add(name, tuned)

    def remove_adapter(self, name: str) -> None:
        """Free an added adapter's memory; its readers stop working.

        Raises UsageError for an unknown adapter and for the one that the base was loaded with.
        """
        family = self._member.family
        family.slots.remove(name)
        with family.lock:
            family.readers.pop(name, None)

    def with_adapter(self, name: str) -> Reader:
        """A reader of the same base weights under another adapter, as a fresh reader of it would be.

        It has the adapter's threshold, way of reading and prompt, except where this reader was given a setting. Costs
        next to nothing, and the same name gives the same reader, in all threads. Raises UsageError for an unknown name.
        """
        family = self._member.family
        with family.lock:
            slot = family.slots.get(name)
            known = family.readers.get(name)
            if known is not None and known._member.slot == slot:
                return known
            # Unknown, or a reader of an adapter that was removed and whose name was given to another since.
            reader = type(self)(
                family.loaded_with(slot.weights),
                prompts=family.prompts,
                member=FamilyMember(family, name, slot),
                **family.settings,
            )
            family.readers[name] = reader
            return reader

    def _activate_adapter(self) -> AbstractContextManager[None]:
        return self._member.family.slots.activated(self._member.slot)

    @property
    def threshold(self) -> float | None:
        """An answer with a lower confidence becomes null; None: it must outscore null. `kinds` may have their own.

        A threshold that is set holds for all kinds.
        """
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float | None) -> None:
        self._threshold = threshold
        self.kinds = at_threshold(self.kinds, threshold)
        if self._evidence is not None:
            self._evidence.threshold = threshold

    def threshold_of(self, kind: AnswerKind, yes: bool | None) -> float | None:
        """The threshold of an answer of a kind: the cross-encoder's, the kind's own, or the common one."""
        if self._evidence is not None and kind == "part":
            return self._evidence.threshold
        own = self.kinds.get(judged_kind(kind, yes))
        return own.value if own is not None else self.threshold

    @property
    def reranking(self) -> RerankingFields:
        """Fields of a `Retriever` that reranks for this reader; empty without a cross-encoder."""
        return {} if self.cross_encoder is None else {"reranker": self.cross_encoder}

    @property
    def provenance(self) -> ReaderProvenance:
        """Fingerprints of what its answers are made with."""
        loaded, scorer = self.loaded, self.cross_encoder
        return {
            "base_model": loaded.weights.fingerprint,
            "adapter": loaded.adapter.fingerprint if loaded.adapter is not None else None,
            "prompt": self.prompts.fingerprint,
            "mode": self.mode,
            "reading": self.reading,
            "cross_encoder": scorer.fingerprint if scorer is not None else None,
        }

    @property
    def fingerprint_parts(self) -> list[JsonValue]:
        """Everything of the reader that decides its answers."""
        made_with = self.provenance
        return [
            made_with["base_model"],
            made_with["adapter"] or "",
            made_with["cross_encoder"] or "",
            made_with["prompt"],
            self.reading,
            {name: value for name, value in asdict(self.config).items() if name != "passage_cache_mb"},
            [self.trained_threshold, {kind: str(own) for kind, own in self.kinds.items()}],
        ]

    @property
    def side_threads(self) -> int:
        """Number of threads that read as many or more requests faster than one batch would; 1: none do."""
        return self.batches.side_threads

    def read(self, question: str, passages: Sequence[Passage], threshold: float | None = None) -> Reading:
        """What the passages, in rank order, answer to the question; without passages the answer is null.

        `threshold` replaces the reader's for this question.
        """
        return self.read_batch([ReadRequest(question, tuple(passages), threshold)])[0]

    def read_batch(self, requests: Sequence[ReadRequest]) -> list[Reading]:
        """What the passages of each request answer to its question, in the order given.

        On a CPU a passage that several questions share is read once: many questions about few passages are best asked
        together.
        """
        readings = self._read_evidence(requests)
        left = [i for i, reading in enumerate(readings) if reading is None]
        rows = dict(zip(left, self.read_rows([requests[i] for i in left]), strict=True))
        return [
            self._combine(request, rows[i]) if reading is None else reading
            for i, (request, reading) in enumerate(zip(requests, readings, strict=True))
        ]

    def _read_evidence(self, requests: Sequence[ReadRequest]) -> list[Reading | None]:
        """What the cross-encoder answers with whole sentences; None where the generator is to read."""
        return [None] * len(requests) if self._evidence is None else self._evidence.read_batch(requests)

    def read_rows(self, requests: Sequence[ReadRequest]) -> list[list[PromptRow]]:
        """The prompts of each request with what came of them, before they are combined: for looking into a reader."""
        rows = [self._rows.of_request(request, self.reading) for request in requests]
        self.batches.run(rows)
        return rows

    def stream(self, question: str, passages: Sequence[Passage]) -> Iterator[StreamEvent]:
        """The completion piece by piece, then the reading.

        Only a single prompt that is decoded token by token has pieces to show; the span search and the reading of
        several prompts give the completion in one piece.
        """
        return self.stream_request(ReadRequest(question, tuple(passages)))

    def stream_request(self, request: ReadRequest) -> Iterator[StreamEvent]:
        """The completion of a request piece by piece, then the reading, as `stream` gives them."""
        (evidence,) = self._read_evidence([request])
        if evidence is not None:
            yield StreamEvent(evidence.completion, None)
            yield StreamEvent("", evidence)
            return
        rows = self._rows.of_request(request, self.reading)
        if self.mode != "quote" and len(rows) == 1:
            yield from self._pieces(rows)
            yield StreamEvent("", self._combine(request, rows))
        else:
            self.batches.run([rows])
            reading = self._combine(request, rows)
            yield StreamEvent(reading.completion, None)
            yield StreamEvent("", reading)

    def _pieces(self, rows: Sequence[PromptRow]) -> Iterator[StreamEvent]:
        """The completion of one row as it is decoded."""
        pending: list[int] = []
        if self.mode == "schema":
            yield StreamEvent(completion.HEAD + completion.OPEN, None)
        for step in self._tokens.steps(rows):
            pending.extend(step.tokens)
            text = self.loaded.tokenizer.decode(pending)
            if not text.endswith("\ufffd"):  # else a character is not whole yet
                pending.clear()
                yield StreamEvent(text, None)

    def closed_book(self, questions: Sequence[str], *, must_answer: bool = False) -> list[Reading]:
        """What the model answers with no passage in the prompt, in any words: what it knows by heart.

        For looking into a reader, never for answering: nothing can be cited. `must_answer`: the best answer even where
        null is likelier. Raises UsageError in mode "quote".
        """
        if self.mode == "quote":
            raise UsageError("closed_book needs a reader in mode 'schema' or 'free': a quote needs a passage")
        requests = [ReadRequest(question, (), 0.0 if must_answer else None) for question in questions]
        rows = [[self._rows.build(question, ())] for question in questions]
        self.batches.run(rows)
        return [self._combine(request, own_rows) for request, own_rows in zip(requests, rows, strict=True)]

    def logits(self, question: str, passages: Sequence[Passage], answer: str | None) -> Tensor:
        """What the model says after the prompt and after each token of the completion of a given answer.

        The completion cites the first passage. Shape (tokens + 1, vocabulary), float32. For looking into a reader, and
        for comparing two.
        """
        prompt = self.prompts.build(question, passages, self.budget)
        tokens = self.prompts.completion_ids(answer, () if answer is None else (1,))
        ids = [*prompt.context, *prompt.question, *tokens]
        return self.decoder.start(self.prompts.head, [ids], keep=len(tokens) + 1).logits[0]

    def _combine(self, request: ReadRequest, rows: Sequence[PromptRow]) -> Reading:
        threshold, kinds = self.threshold, self.kinds
        if request.threshold is not None:
            threshold, kinds = request.threshold, at_threshold(self.kinds, request.threshold)
        return combine(rows, request.passages, threshold, self.scale, kinds, whole=self.whole_sentences)


def _named_cross_encoder(name: str | Path | None, config: ReaderConfig) -> CrossEncoder | None:
    """The cross-encoder with a name; None for no name and for `none`.

    Raises UsageError where a reader with this config cannot use it, WeightsError.
    """
    if name is None or str(name) == NO_ADAPTER:
        return None
    if not takes_cross_encoder(config):
        raise UsageError(
            f"a cross-encoder chooses what to quote, and a reader in mode {config.mode!r} quotes nothing: leave out the"
            " cross-encoder or that mode"
        )
    return CrossEncoder.from_pretrained(name)


def _cross_encoder_beside(adapter: Weights | None, config: ReaderConfig) -> CrossEncoder | None:
    """The cross-encoder that was tuned beside an adapter; None where there is none, or it cannot be used."""
    if adapter is None or not takes_cross_encoder(config) or config.whole_sentences is False:
        return None
    folder = cross_encoder_beside(adapter.path)
    return None if folder is None else CrossEncoder.from_pretrained(folder)
