"""Question + passages → what the model answers, how sure it is, and which passage it cites.

Three modes. `quote`: the answer is a span of a passage, found by searching all spans at once (`span_search`).
`schema`: any text in valid JSON (`grammar`). `free`: whatever the model writes, parsed strictly. Two ways of reading:
`joint` (all passages in one prompt) and `separate` (each passage in a prompt of its own; answers and null compete, and
the sentence of the best answer is read once more on its own).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.answering import completion
from rag_ft.answering.confidence import probability_of, trained_threshold
from rag_ft.answering.decoding.candidates import Candidates, find_candidates
from rag_ft.answering.decoding.generate import Generated, GeneratedTokens, generate
from rag_ft.answering.decoding.grammar import GrammarCompiler, answer_grammar, quote_grammar
from rag_ft.answering.decoding.span_search import SpanSearch, search_spans
from rag_ft.answering.forward.decoder import AnySession, Decoder
from rag_ft.answering.forward.prefix_cache import PrefixCache
from rag_ft.answering.forward.token_tree import TreeNode
from rag_ft.answering.prompt import Prompt, PromptBuilder, reader_budget
from rag_ft.answering.reading import (
    MODES,
    READING_WAYS,
    Cited,
    Decoding,
    Mode,
    Reading,
    ReadingWay,
    ReadRequest,
    StreamEvent,
    check_threshold,
)
from rag_ft.errors import AnswerParseError, PromptMismatchError, PromptTooLongError, UsageError
from rag_ft.models.adapter_record import reading_record
from rag_ft.models.adapter_slots import AdapterSlot, AdapterSlots, adapter_folder
from rag_ft.models.cores import MOST_THREADS, can_compute_alone, even_parts, run_side_by_side
from rag_ft.models.weights import PACKAGED, chosen_adapter
from rag_ft.schema import Passage
from rag_ft.text.sentences import sentences_around
from rag_ft.text.spans import Span

if TYPE_CHECKING:
    from torch import Tensor

    from rag_ft.models.compute import ComputePlan
    from rag_ft.models.loading import LoadedModel

MAX_ANSWER_TOKENS = 48
"""Longest answer, in the reader's tokens; a longer span is no candidate, a longer generated text is incomplete."""


MAX_PROMPT_TOKENS = 2048


PASSAGE_CACHE_MB = 512
"""Memory for passages that were read before, which a reader on a CPU does not read again for the next question; some
250 passages of 90 tokens with the default model."""


_TOKENS_PER_PASS = 4096
"""Prompt tokens read in one pass of a batch: enough to fill two cores, little enough to stay under 2 GB."""


@dataclass
class _Row:
    """One prompt of a batch and what came of it; log-probabilities are those after the completion's head."""

    question: str
    prompt: Prompt
    numbers: tuple[int, ...]
    """The prompt's passages as indices into the request's."""
    ids: list[int]
    context: int
    """How many of the ids, from the first, are the passages."""
    null: float = -math.inf
    scored: dict[str, float] = field(default_factory=dict)
    """Answer → log-probability of opening quote, answer and closing quote."""
    best: str | None = None
    cited: tuple[Cited, ...] = ()
    """Of the best answer."""
    complete: bool = True
    text: str = ""
    """The completion, where it is not to be rendered from the best answer."""
    completion_tokens: int = 0
    passes: int = 0
    second_look: _Row | None = None
    """The sentence of the best answer alone, where it was read."""


class Reader:
    """A base model, with an adapter or without, that answers from passages."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        mode: Mode = "quote",
        reading: ReadingWay | None = None,
        threshold: float | None = None,
        max_prompt_tokens: int = MAX_PROMPT_TOKENS,
        max_answer_tokens: int = MAX_ANSWER_TOKENS,
        shots: bool | None = None,
        decoding: Decoding = "search",
        temperature: float = 0.0,
        seed: int = 0,
        passage_cache_mb: int = PASSAGE_CACHE_MB,
        prompts: PromptBuilder | None = None,
    ) -> None:
        self._given: dict[str, Any] = {
            "mode": mode,
            "reading": reading,
            "threshold": threshold,
            "max_prompt_tokens": max_prompt_tokens,
            "max_answer_tokens": max_answer_tokens,
            "shots": shots,
            "decoding": decoding,
            "temperature": temperature,
            "seed": seed,
            "passage_cache_mb": passage_cache_mb,
            "prompts": prompts,
        }
        _check("mode", mode, MODES)
        record = reading_record(loaded.weights, loaded.adapter)
        reading = reading or record.get("examples", {}).get("reading", "separate")
        _check("reading", reading, READING_WAYS)
        _check("decoding", decoding, ("search", "greedy"))
        check_threshold(threshold)
        if max_answer_tokens < 1 or max_prompt_tokens < 1:
            raise UsageError(
                f"max_answer_tokens is {max_answer_tokens} and max_prompt_tokens {max_prompt_tokens}:"
                " both must be positive"
            )
        if passage_cache_mb < 0:
            raise UsageError(f"passage_cache_mb is {passage_cache_mb} but must be 0 (none is kept) or more")
        if temperature < 0 or (temperature > 0 and mode == "quote"):
            raise UsageError(f"temperature is {temperature}: it must be 0 in mode 'quote' and 0 or more in the others")
        self.mode: Mode = mode
        self.reading: ReadingWay = reading
        chosen = trained_threshold(record, mode, reading)
        self.trained_threshold = chosen.value
        self.scale = chosen.scale
        """What turns the reader's own probability of an answer into that of its being right; measured on questions."""
        self.threshold = threshold if threshold is not None else self.trained_threshold
        self.max_answer_tokens = max_answer_tokens
        self.decoding: Decoding = decoding
        self.temperature = temperature
        self.seed = seed
        self.loaded = loaded
        if shots is None:
            shots = bool(record.get("shots", loaded.adapter is None))
        self.prompts = prompts or PromptBuilder(loaded.tokenizer, shots=shots)
        if prompts is None:
            _check_prompt(record, self.prompts, loaded)
        self._shared: AdapterSlots = loaded.shared
        self.adapter: str = self._shared.start
        """Name of the adapter that it reads with; `none`: the untuned base."""
        self._prefixes = PrefixCache(passage_cache_mb * 2**20)
        self._decoder = self._decoder_of(self._shared.get(self.adapter))
        self.budget = reader_budget(self.prompts, self._decoder.window, max_prompt_tokens, max_answer_tokens)
        self._grammars: GrammarCompiler | None = None
        self._family: dict[str, tuple[AdapterSlot, Reader]] = {self.adapter: (self._shared.get(self.adapter), self)}
        """Readers of the same base and settings, one for each adapter asked for so far; shared by all of them."""

    @classmethod
    def from_pretrained(
        cls,
        name: str = "default",
        *,
        adapter: str | Path | None = None,
        adapters: Mapping[str, str | Path] | None = None,
        plan: ComputePlan | None = None,
        **settings: Any,
    ) -> Reader:
        """A reader by the name of its base model: `default`, a local folder, or a hub id; `adapter` is a LoRA folder.

        Without an adapter given the default reader uses the packaged one; `adapter="none"` leaves it untuned.
        `adapters`: more of them on the same base, name → folder, `packaged` or `none`; see `with_adapter`.

        Further keywords are those of `Reader`: `mode`, `reading`, `threshold` (None: the one chosen when the adapter
        was trained, or null competes with the answer by probability; else an answer whose confidence is lower becomes
        null), `max_prompt_tokens`, `max_answer_tokens`, `shots`, `temperature`, `seed` and `passage_cache_mb` (0: no
        passage is kept). Raises WeightsError, UsageError, PromptMismatchError.
        """
        from rag_ft.models.loading import load_model

        chosen = chosen_adapter(name, adapter)
        if chosen is not None and str(chosen) == PACKAGED:
            chosen = adapter_folder(chosen)
        reader = cls(load_model(name, adapter=chosen, plan=plan), **settings)
        for more, folder in (adapters or {}).items():
            reader.add_adapter(more, folder)
        return reader

    @property
    def passage_cache(self) -> PrefixCache:
        """What is kept of passages read before, shared by all readers of this base."""
        return self._prefixes

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters in memory: the one it was loaded with (`packaged`, or its folder's name), then those
        that were added. `none` is not among them and always works.
        """
        return self._shared.names

    def add_adapter(self, name: str, folder: str | Path) -> None:
        """Load another adapter onto the same base weights; `folder` may be `packaged`.

        Adding the same one again under its name changes nothing. Raises UsageError where another one has the name,
        WeightsError where it was trained on another base or on other values of it, PromptMismatchError.
        """
        tuned = self._shared.checked(name, folder)
        self._sibling(name, AdapterSlot(tuned, None))  # its prompt is checked before it is loaded
        self._shared.add(name, tuned)

    def remove_adapter(self, name: str) -> None:
        """Free an added adapter's memory; readers made of it stop working. Raises UsageError for an unknown one and
        for the one that the base was loaded with.
        """
        self._shared.remove(name)
        self._family.pop(name, None)

    def with_adapter(self, name: str) -> Reader:
        """A reader of the same base weights under another adapter, as a fresh reader of it would be: with its own
        threshold, way of reading and prompt. What this reader was given as a setting is kept.

        Costs next to nothing, and the same name gives the same reader. Readers of one base can be used from several
        threads: each pass through the model has its own adapter. Raises UsageError for an unknown name.
        """
        held = self._shared.get(name)
        known = self._family.get(name)
        if known is None or known[0] != held:
            known = self._family[name] = (held, self._sibling(name, held))
        return known[1]

    def _sibling(self, name: str, held: AdapterSlot) -> Reader:
        loaded = replace(self.loaded, model=self._shared.model, adapter=held.weights)
        made = type(self)(loaded, **self._given)
        made.adapter, made._family = name, self._family
        made._prefixes = self._prefixes
        made._decoder = made._decoder_of(held)
        return made

    def _decoder_of(self, held: AdapterSlot) -> Decoder:
        return Decoder(self.loaded, self._wearing(held), self._prefixes, held.slot)

    def _wearing(self, held: AdapterSlot) -> Callable[[], AbstractContextManager[None]]:
        return lambda: self._shared.activated(held)

    def read(self, question: str, passages: Sequence[Passage], threshold: float | None = None) -> Reading:
        """What the passages, in rank order, answer to the question; without passages the answer is null.

        `threshold`: for this question instead of the reader's.
        """
        return self.read_batch([ReadRequest(question, tuple(passages), threshold)])[0]

    def read_batch(self, requests: Sequence[ReadRequest]) -> list[Reading]:
        """The same for many questions, in the order given.

        A passage that several of them are asked of is read once where the model is on a CPU: many questions about few
        passages are best asked together.
        """
        rows = [self._rows(request) for request in requests]
        self._run_all(requests, rows)
        return [self._combine(request, own) for request, own in zip(requests, rows, strict=True)]

    def stream(self, question: str, passages: Sequence[Passage]) -> Iterator[StreamEvent]:
        """The completion piece by piece, then the reading.

        Only a single prompt that is decoded token by token has pieces to show; the span search and the reading of
        several prompts know nothing before they know all, and give the completion in one piece.
        """
        request = ReadRequest(question, tuple(passages))
        rows = self._rows(request)
        if self.mode == "quote" or len(rows) != 1:
            self._run_all([request], [rows])
        else:
            pending: list[int] = []
            if self.mode == "schema":
                yield StreamEvent(completion.HEAD + completion.OPEN, None)
            for step in self._steps(rows):
                pending.extend(step.tokens)
                text = self.loaded.tokenizer.decode(pending)
                if not text.endswith("\ufffd"):  # else a character is not whole yet
                    pending.clear()
                    yield StreamEvent(text, None)
            reading = self._combine(request, rows)
            yield StreamEvent("", reading)
            return
        reading = self._combine(request, rows)
        yield StreamEvent(reading.completion, None)
        yield StreamEvent("", reading)

    def logits(self, question: str, passages: Sequence[Passage], answer: str | None) -> Tensor:
        """What the model says after the prompt and after each token of the completion of a given answer, which cites
        the first passage: (tokens + 1, vocabulary) float32. For looking into a reader, and comparing two.
        """
        prompt = self.prompts.build(question, passages, self.budget)
        said = self.prompts.completion_ids(answer, () if answer is None else (1,))
        ids = [*prompt.context, *prompt.question, *said]
        return self._decoder.start(self.prompts.head, [ids], keep=len(said) + 1).logits[0]

    @property
    def _lead(self) -> tuple[int, ...]:
        """What every completion starts with, read with the prompt; free text starts as it likes."""
        return (*self.prompts.completion_head, *self.prompts.completion_open) if self.mode != "free" else ()

    def closed_book(self, questions: Sequence[str], *, must_answer: bool = False) -> list[Reading]:
        """What the model answers with no passage in the prompt, in any words: what it knows by heart.

        For looking into a reader, never for answering: nothing can be cited. `must_answer`: the best answer even where
        null is likelier. Raises UsageError in mode "quote".
        """
        if self.mode == "quote":
            raise UsageError("closed_book needs a reader in mode 'schema' or 'free': a quote needs a passage")
        requests = [ReadRequest(question, (), 0.0 if must_answer else None) for question in questions]
        rows = [[self._row(question, (), ())] for question in questions]
        self._run_all(requests, rows)
        return [self._combine(request, own) for request, own in zip(requests, rows, strict=True)]

    def _row(self, question: str, passages: Sequence[Passage], numbers: Sequence[int]) -> _Row:
        """A prompt of passages, whose numbers in their request are given. Raises PromptTooLongError."""
        prompt = self.prompts.build(question, passages, self.budget)
        left_out = {id(passage) for passage in prompt.left_out}
        read = tuple(number for number, one in zip(numbers, passages, strict=False) if id(one) not in left_out)
        return _Row(question, prompt, read, [*prompt.context, *prompt.question, *self._lead], len(prompt.context))

    def _rows(self, request: ReadRequest) -> list[_Row]:
        """A request's prompts: one for joint reading, one for each passage for separate reading; none without passages.

        Raises PromptTooLongError where none of them fits.
        """
        check_threshold(request.threshold)
        if self.reading == "joint" or not request.passages:
            row = self._row(request.question, request.passages, range(len(request.passages)))
            return [row] if request.passages else []
        rows, too_long = [], None
        for place, passage in enumerate(request.passages):
            try:
                rows.append(self._row(request.question, [passage], [place]))
            except PromptTooLongError as error:  # the other passages may fit
                too_long = error
        if not rows and too_long is not None:
            raise too_long
        return rows

    def _run_all(self, requests: Sequence[ReadRequest], rows: Sequence[Sequence[_Row]]) -> None:
        """Read all prompts, and search them or decode; `rows` has those of each request.

        On a few processors the requests are shared out among them.
        """
        import torch

        threads = self.side_threads
        # Autocast, which readings in training are in, is its thread's own.
        if threads == 1 or sum(bool(own) for own in rows) < threads or torch.is_autocast_enabled("cpu"):
            self._run(requests, rows)
            return
        order = sorted((number for number, own in enumerate(rows) if own), key=lambda number: _begins(rows[number]))
        costs = [
            sum(self._decoder.unread(self.prompts.head, row.ids, row.context) for row in rows[number])
            for number in order
        ]
        rounds = math.ceil(sum(costs) / _TOKENS_PER_PASS)
        parts = [[order[place] for place in part] for part in even_parts(costs, rounds * threads)]
        run_side_by_side(
            [
                partial(
                    self._run, [requests[one] for one in part], [rows[one] for one in part], _TOKENS_PER_PASS // threads
                )
                for part in parts
            ],
            threads,
        )

    @property
    def side_threads(self) -> int:
        """In how many threads that compute alone (`side_by_side`) as many requests or more are read faster than in one
        batch on all processors; 1: in none.

        That is for the search on a few processors; what is decoded token by token waits for the memory, which a batch
        asks for least.
        """
        import torch

        threads = torch.get_num_threads()
        fits = 1 < threads <= MOST_THREADS and self._searches and can_compute_alone() and self._decoder.flat
        return threads if fits else 1

    @property
    def _searches(self) -> bool:
        """Whether answers are found by the span search, not decoded token by token."""
        return self.mode == "quote" and self.decoding == "search"

    def _run(
        self, requests: Sequence[ReadRequest], rows: Sequence[Sequence[_Row]], tokens_per_pass: int = _TOKENS_PER_PASS
    ) -> None:
        """Read, search or decode, and look again, in one thread; a pass reads at most so many tokens of prompts."""
        for group in _groups(rows, tokens_per_pass):
            if self._searches:
                self._search(group)
            else:
                for _ in self._steps([row for own in group for row in own]):
                    pass
        if self.mode == "quote" and self.reading == "separate":
            self._look_again(requests, rows, tokens_per_pass)

    def _look_again(
        self, requests: Sequence[ReadRequest], rows: Sequence[Sequence[_Row]], tokens_per_pass: int
    ) -> None:
        """Read the sentence of each request's best answer on its own: does it answer the question there, too?

        What a passage says near an answer can make it look like one. A second look at the answer's sentence tells
        unanswerable questions better (Hu et al., Read + Verify, 2019, whose verifier is a model of its own).
        """
        looks: list[_Row] = []
        for request, own in zip(requests, rows, strict=True):
            best = _winner([row for row in own if row.complete])
            passage, span = best.cited[0] if best is not None and best.cited else (None, None)
            if best is None or passage is None or span is None:
                continue
            sentence = sentences_around(passage.text, *span)
            if sentence == (0, len(passage.text)):
                continue
            alone = passage.model_copy(update={"text": passage.text[sentence.start : sentence.end]})
            with suppress(PromptTooLongError):  # a part can have more tokens than the whole, which filled the prompt
                best.second_look = self._row(request.question, [alone], ())
                looks.append(best.second_look)
        for group in _groups([[row] for row in looks], tokens_per_pass):
            self._start([row for own in group for row in own])

    def _read(self, rows: list[_Row], keep: int = 1) -> AnySession:
        return self._decoder.start(self.prompts.head, [row.ids for row in rows], keep, [row.context for row in rows])

    def _start(self, rows: list[_Row]) -> tuple[AnySession, Tensor]:
        """Read the prompts and note the probability of null; returns the session and each row's log p(open)."""
        null, opening = self.prompts.completion_null, self.prompts.completion_open
        session = self._read(rows, keep=len(opening) + 1)
        logprobs = session.logits.log_softmax(-1)  # (B, open + 1, V)
        for number, row in enumerate(rows):
            row.null = float(logprobs[number, 0, null[0]])
        opened = logprobs[:, range(len(opening)), list(opening)].sum(1)  # (B,)
        return session, opened

    def _search(self, group: Sequence[Sequence[_Row]]) -> None:
        """Find the likeliest answer of each request, whose prompts compete; a prompt that cannot win is not searched
        to the end.
        """
        rows = [row for own in group for row in own]
        session, opened = self._start(rows)
        close = self.prompts.close_ids((1,))[0]
        found = [self._candidates(row.prompt.passages) for row in rows]
        searches: list[SpanSearch] = []
        first = session.logits[:, -1].log_softmax(-1)
        for number, candidates in enumerate(found):
            starts = sorted(candidates.trie.children[0])
            after = dict(zip(starts, first[number, starts].tolist(), strict=True)) if starts else {}
            barred = candidates.repeating(rows[number].question)
            searches.append(SpanSearch(candidates.trie, float(opened[number]), after, close, rows[number].null, barred))
        waiting = iter(searches)
        results = search_spans(session, [[next(waiting) for _ in own] for own in group])
        for number, (row, candidates, result) in enumerate(zip(rows, found, results, strict=True)):
            row.scored = {candidates.texts[i]: value for i, value in result.logprobs.items()}
            row.passes = result.passes
            if result.best >= 0:
                row.best = candidates.texts[result.best]
                row.cited = (Cited(*self._cite(session, number, row, candidates, result.best)),)
            row.completion_tokens = len(self.prompts.completion_ids(row.best, (1,)))

    def _candidates(self, passages: Sequence[Passage]) -> Candidates:
        """Those of a single passage are kept beside its keys and values."""
        name = ("candidates", passages[0].text, self.max_answer_tokens) if len(passages) == 1 else None
        known: Candidates | None = self._prefixes.get(name) if name is not None else None
        if known is None:
            known = find_candidates(passages, self.prompts.body_ids, self.max_answer_tokens)
            if name is not None:
                self._prefixes.put(name, known)
        return known

    def _cite(
        self, session: AnySession, number: int, row: _Row, candidates: Candidates, best: int
    ) -> tuple[Passage, Span]:
        """Which passage to cite for an answer that stands in several: the one that the model prefers."""
        by_passage = candidates.first_places(candidates.texts[best])
        chosen = next(iter(by_passage))
        if len(by_passage) > 1:
            closings = {place: self.prompts.close_ids((place + 1,)) for place in by_passage}
            scores = _score_after(session, number, candidates.bodies[best], list(closings.values()))
            chosen = max(zip(closings, scores, strict=True), key=lambda pair: (pair[1], -pair[0]))[0]
        return row.prompt.passages[chosen], by_passage[chosen]

    def _steps(self, rows: list[_Row]) -> Iterator[GeneratedTokens]:
        """Decode token by token; the rows are filled in when the iterator is exhausted."""
        import torch

        stop = frozenset({self.prompts.end_of_turn_id, *self._eos_ids()})
        sampler = torch.Generator().manual_seed(self.seed)
        if self.mode == "free":
            session = self._read(rows)
            matchers: list[Any] = [None] * len(rows)
            limit = self.budget.completion
            opened = None
        else:
            session, opened = self._start(rows)
            matchers = [self._compiler().matcher(self._grammar(row)) for row in rows]
            limit = self.budget.completion
        steps = generate(
            session,
            session.logits[:, -1],
            matchers,
            max_tokens=limit,
            stop_ids=stop,
            temperature=self.temperature,
            generator=sampler,
        )
        done: list[Generated] = []
        for step in steps:
            if isinstance(step, GeneratedTokens):
                yield step
            else:
                done = step
        for number, (row, made) in enumerate(zip(rows, done, strict=True)):
            self._settle(row, made, None if opened is None else float(opened[number]))

    def _settle(self, row: _Row, made: Generated, opened: float | None) -> None:
        """Parse what a row's decoding made, and its probability up to the closing quote."""
        lead = "" if opened is None else completion.HEAD + completion.OPEN
        row.text = lead + self.loaded.tokenizer.decode(made.tokens, skip_special_tokens=False)
        row.completion_tokens = len(made.tokens) + (0 if opened is None else len(self.prompts.completion_head) + 1)
        try:
            parsed = completion.parse(row.text, max(len(row.prompt.passages), 1))  # none: closed_book
        except AnswerParseError:
            row.complete = False
            return
        length = self._tokens_of_answer(lead, made.tokens)
        logprob = (opened or 0.0) + sum(made.logprobs[:length])
        # The grammar closes an answer that has come to its limit: valid JSON, but a text cut short.
        row.complete = made.finished and not (opened is not None and length > self.max_answer_tokens)
        if opened is None:
            # Free text says null or an answer, not both: what it did not say has the rest of the probability.
            rest = math.log(max(-math.expm1(logprob), 1e-300))
            row.null = logprob if parsed.answer is None else rest
        if parsed.answer is not None and row.complete:
            row.best, row.scored = parsed.answer, {parsed.answer: logprob}
            quoted = self.mode == "quote"
            places = self._candidates(row.prompt.passages).first_places(parsed.answer) if quoted else {}
            if row.prompt.passages:
                row.cited = tuple(Cited(row.prompt.passages[one - 1], places.get(one - 1)) for one in parsed.citations)

    def _tokens_of_answer(self, lead: str, tokens: list[int]) -> int:
        """How many tokens it takes until the answer is closed."""
        decode = self.loaded.tokenizer.decode
        low, high = 1, len(tokens)
        while low < high:
            middle = (low + high) // 2
            if _answer_closed(lead + decode(tokens[:middle])):
                high = middle
            else:
                low = middle + 1
        return low

    def _grammar(self, row: _Row) -> str:
        if self.mode == "schema":
            return answer_grammar(max(len(row.prompt.passages), 1), self.max_answer_tokens)
        found = self._candidates(row.prompt.passages)
        barred = found.repeating(row.question)
        texts = [text for number, text in enumerate(found.texts) if number not in barred]
        return quote_grammar([(text, sorted({place + 1 for place, _ in found.places[text]})) for text in texts])

    def _compiler(self) -> GrammarCompiler:
        if self._grammars is None:
            self._grammars = GrammarCompiler(
                self.loaded.tokenizer, self._decoder.vocabulary, self.prompts.end_of_turn_id
            )
        return self._grammars

    def _eos_ids(self) -> list[int]:
        eos = self.loaded.tokenizer.eos_token_id
        return [] if eos is None else [int(eos)]

    def _combine(self, request: ReadRequest, rows: list[_Row]) -> Reading:
        """One outcome from the rows of a request.

        The best answer is the one with the highest odds against its own row's null. Its confidence is the probability
        that null is not what this row says, nor what it says to the answer's sentence alone (the mean of their
        log-odds), on the adapter's scale: whether the passage answers the question, however unsure the reader is which
        of several similar spans says it best. Shares of all rows' answers together tell unanswerable questions worse
        (docs/answers.md).
        """
        read = [False] * len(request.passages)
        for row in rows:
            for place in row.numbers:
                read[place] = True
        looks = [row.second_look for row in rows if row.second_look is not None]
        tokens = sum(len(row.prompt) for row in (*rows, *looks))
        made = sum(row.completion_tokens for row in rows)
        passes = max((row.passes for row in rows), default=0)

        def reading(
            answer: str | None, cited: tuple[Cited, ...], confidence: float, not_null: float, **more: Any
        ) -> Reading:
            text = more.pop("text", None)
            if text is None:
                numbers = [sum(read[: _index(request.passages, one.passage) + 1]) for one in cited]
                text = completion.render(answer, tuple(numbers))
            return Reading(
                answer=answer,
                cited=cited,
                confidence=confidence,
                answer_confidence=self.scale.scaled(not_null),
                not_null=not_null,
                abstained=more.pop("abstained", answer is None),
                complete=more.pop("complete", True),
                completion=text,
                read=tuple(read),
                prompt_tokens=tokens,
                completion_tokens=made,
                passes=passes,
            )

        if not rows:
            return reading(None, (), 1.0, 0.0)
        winner = _winner([row for row in rows if row.complete])
        if winner is None:
            return reading(None, (), 0.0, 0.0, text=rows[0].text, complete=False, abstained=False)
        second = winner.second_look
        not_null = _not_null([winner.null, *(() if second is None else (second.null,))])
        confidence = self.scale.scaled(not_null)
        if winner.best is None:
            return reading(None, (), 1 - confidence, 0.0)
        threshold = self.threshold if request.threshold is None else request.threshold
        # Free text that says an answer has chosen already, however unsure it is.
        loses = _odds(winner) < 0 and self.mode != "free" if threshold is None else confidence < threshold
        if loses:
            return reading(None, (), 1 - confidence, not_null)
        text = winner.text if len(rows) == 1 and winner.text else None
        return reading(winner.best, winner.cited, confidence, not_null, text=text)


def _odds(row: _Row) -> float:
    """Log-odds of a row's best answer against its null."""
    return row.scored[row.best] - row.null if row.best is not None else -math.inf


def _winner(rows: Sequence[_Row]) -> _Row | None:
    """The row of the best answer; the first of equal ones, None where there is no row."""
    return max(rows, key=lambda row: (_odds(row), -row.null), default=None)


def _not_null(nulls: Sequence[float]) -> float:
    """Probability that null is not said, by the mean of the log-odds of several log-probabilities of null."""
    if len(nulls) == 1:
        return -math.expm1(min(nulls[0], 0.0))
    least = -1e-12  # a null that is certain has odds, too
    odds = sum(math.log(-math.expm1(min(one, least))) - min(one, least) for one in nulls) / len(nulls)
    return probability_of(odds)


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} is {value!r} but must be one of {', '.join(allowed)}")


def _check_prompt(record: dict[str, Any], prompts: PromptBuilder, loaded: LoadedModel) -> None:
    trained = record.get("prompt_fingerprint")
    if trained is not None and trained != prompts.fingerprint:
        kind, tuned = ("adapter", loaded.adapter) if loaded.adapter is not None else ("model", loaded.weights)
        raise PromptMismatchError(
            f"the {kind} {tuned.path} was trained under prompt {str(trained)[:12]} and this reader builds prompt"
            f" {prompts.fingerprint[:12]}: use the version of rag_ft and the base model that it was trained with, or"
            " train it again"
        )


def _begins(own: Sequence[_Row]) -> tuple[int, list[int], int]:
    """What orders the rows of requests so that those about one passage stand together, long passages first."""
    first = own[0]
    return -first.context, first.ids[: first.context], -len(first.ids)


def _groups(rows: Sequence[Sequence[_Row]], tokens_per_pass: int) -> Iterator[list[Sequence[_Row]]]:
    """The rows of requests in groups that one pass can read, in order; a request whose rows are too many for a pass is
    cut.
    """
    group: list[Sequence[_Row]] = []
    count = longest = 0
    for own in sorted((own for own in rows if own), key=_begins):
        most = max(1, tokens_per_pass // max(len(row.ids) for row in own))
        for begin in range(0, len(own), most):
            part = own[begin : begin + most]
            longest = max(longest, *(len(row.ids) for row in part))
            if group and longest * (count + len(part)) > tokens_per_pass:
                yield group
                group, count, longest = [], 0, max(len(row.ids) for row in part)
            group.append(part)
            count += len(part)
    if group:
        yield group


def _score_after(
    session: AnySession, row: int, lead: tuple[int, ...], endings: Sequence[tuple[int, ...]]
) -> list[float]:
    """Log-probability of each ending after a row's tokens and `lead`, in one pass."""
    tree: list[TreeNode] = []
    for token in lead:
        tree.append(TreeNode(token, len(tree) - 1))
    paths: list[list[int]] = []
    for ending in endings:
        parent, path = len(lead) - 1, []
        for token in ending[:-1]:
            path.append(parent)
            tree.append(TreeNode(token, parent))
            parent = len(tree) - 1
        paths.append([*path, parent])
    wanted: list[list[int]] = [[] for _ in tree]
    slots: list[list[tuple[int, int]]] = []
    for ending, path in zip(endings, paths, strict=True):
        slots.append([])
        for token, node in zip(ending, path, strict=True):
            slots[-1].append((node, len(wanted[node])))
            wanted[node].append(token)
    empty: list[Any] = [[] for _ in range(session.rows)]
    trees, asked = list(empty), list(empty)
    trees[row], asked[row] = tree, wanted
    found = session.score_trees(trees, asked)[row]
    return [float(sum(found[node][slot] for node, slot in places)) for places in slots]


def _answer_closed(text: str) -> bool:
    """Whether the answer of a completion that is still coming is whole: its string closed, or null written out."""
    begin = text.find('"answer"')
    rest = text[begin + len('"answer"') :].lstrip().removeprefix(":").lstrip() if begin >= 0 else ""
    if rest.startswith("null"):
        return True
    escaped = False
    for character in rest[1:] if rest.startswith('"') else "":
        if not escaped and character == '"':
            return True
        escaped = character == "\\" and not escaped
    return False


def _index(passages: Sequence[Passage], passage: Passage) -> int:
    return next(i for i, one in enumerate(passages) if one is passage)
