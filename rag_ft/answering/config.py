"""Settings of a reader, and what they come to under an adapter that was trained with settings of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from rag_ft.answering.confidence import KindCalibration, PlattScale, at_threshold, trained_threshold
from rag_ft.answering.prompt import PromptBuilder
from rag_ft.answering.reading import DECODINGS, MODES, READING_WAYS, Decoding, Mode, ReadingWay, check_threshold
from rag_ft.errors import PromptMismatchError, UsageError
from rag_ft.metrics.kinds import JudgedKind
from rag_ft.models.adapter_record import reading_record

if TYPE_CHECKING:
    from rag_ft.models.loading import LoadedModel

MAX_ANSWER_TOKENS = 48
"""Longest answer, in the reader's tokens. A longer span is not a candidate; a longer generated text is incomplete."""

MAX_PROMPT_TOKENS = 2048

PASSAGE_CACHE_MB = 512
"""Memory for passages already read, which a reader on a CPU need not read again for the next question: about 250
passages of 90 tokens with the default model."""


class ReaderSettings(TypedDict, total=False):
    """Settings of a reader as keyword arguments; `ReaderConfig` says what each one means."""

    mode: Mode
    reading: ReadingWay | None
    threshold: float | None
    max_prompt_tokens: int
    max_answer_tokens: int
    shots: bool | None
    decoding: Decoding
    temperature: float
    seed: int
    passage_cache_mb: int
    whole_sentences: bool | None


@dataclass(frozen=True)
class ReaderConfig:
    """Settings of a reader, checked. Raises UsageError for a value that is out of range."""

    mode: Mode = "quote"
    """`quote`: a span of a passage. `schema`: any text in valid JSON. `free`: whatever the model writes."""
    reading: ReadingWay | None = None
    """`joint`: all passages in one prompt. `separate`: one prompt per passage. None: as the adapter was trained."""
    threshold: float | None = None
    """An answer with a lower confidence becomes null. None: the adapter's threshold; without one, an answer must
    outscore null."""
    max_prompt_tokens: int = MAX_PROMPT_TOKENS
    max_answer_tokens: int = MAX_ANSWER_TOKENS
    shots: bool | None = None
    """Whether two worked examples precede the question. None: as the adapter was trained; without one, yes."""
    decoding: Decoding = "search"
    """How mode `quote` finds its answer. `greedy` is the reference that the search is tested against."""
    temperature: float = 0.0
    """Sampling temperature of modes `schema` and `free`; 0 is greedy."""
    seed: int = 0
    """Seed for sampling."""
    passage_cache_mb: int = PASSAGE_CACHE_MB
    """Memory for passages already read; 0 keeps none."""
    whole_sentences: bool | None = None
    """Whether mode `quote` answers how, why, yes/no and the like with the whole sentences that hold the span, where the
    reader was not tuned on parts of passages. None: as the adapter's record says; without one, no."""

    def __post_init__(self) -> None:
        _check_choice("mode", self.mode, MODES)
        if self.reading is not None:
            _check_choice("reading", self.reading, READING_WAYS)
        _check_choice("decoding", self.decoding, DECODINGS)
        check_threshold(self.threshold)
        for name in ("max_prompt_tokens", "max_answer_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)} but must be 1 or more")
        if self.passage_cache_mb < 0:
            raise UsageError(f"passage_cache_mb is {self.passage_cache_mb} but must be 0 (keep none) or more")
        if self.temperature < 0 or (self.temperature > 0 and self.mode == "quote"):
            raise UsageError(
                f"temperature is {self.temperature} but must be 0 in mode 'quote', and 0 or more in other modes"
            )


@dataclass(frozen=True)
class AdaptedConfig:
    """What a config leaves open, filled in from the record of the adapter that the model reads with."""

    reading: ReadingWay
    threshold: float | None
    """The config's threshold, else the trained one; None: an answer must outscore null."""
    trained_threshold: float | None
    """Threshold chosen when the adapter was trained or calibrated for this mode and way of reading."""
    scale: PlattScale
    """Turns the reader's own probability of an answer into the probability that the answer is right."""
    kinds: Mapping[JudgedKind, KindCalibration]
    """Kinds of answers with a scale of their own, and a threshold: their trained one, or the config's."""
    prompts: PromptBuilder
    parts: bool
    """Whether the adapter was trained to answer with parts of passages, too."""
    whole_sentences: bool
    """Whether spans become whole sentences where the question asks for them."""


def adapt_config(config: ReaderConfig, loaded: LoadedModel, prompts: PromptBuilder | None = None) -> AdaptedConfig:
    """The config under `loaded.adapter`, or under an adapter merged into the base.

    `prompts`: build prompts with these, unchecked. Raises PromptMismatchError where the adapter was trained under
    another prompt, UsageError and WeightsError where its record is damaged.
    """
    record = reading_record(loaded.weights, loaded.adapter)
    reading: ReadingWay = config.reading or record.get("examples", {}).get("reading", "separate")
    _check_choice("reading", reading, READING_WAYS)
    trained = trained_threshold(record, config.mode, reading)
    if prompts is None:
        shots = bool(record.get("shots", loaded.adapter is None)) if config.shots is None else config.shots
        prompts = PromptBuilder(loaded.tokenizer, shots=shots)
        _check_prompt(record, prompts, loaded)
    return AdaptedConfig(
        reading=reading,
        threshold=trained.value if config.threshold is None else config.threshold,
        trained_threshold=trained.value,
        scale=trained.scale,
        kinds=trained.kinds if config.threshold is None else at_threshold(trained.kinds, config.threshold),
        prompts=prompts,
        parts=_knows_parts(record),
        whole_sentences=gives_sentences(config, record),
    )


def gives_sentences(config: ReaderConfig, record: Mapping[str, Any]) -> bool:
    """Whether a reader under an adapter with this record makes whole sentences of spans."""
    whole = record.get("whole_sentences") is True if config.whole_sentences is None else config.whole_sentences
    return whole and not _knows_parts(record) and config.mode == "quote"


def takes_cross_encoder(config: ReaderConfig) -> bool:
    """Whether a cross-encoder may help a reader with this config to quote: to choose spans, and whole sentences.

    Sentences only where `whole_sentences` is not switched off.
    """
    return config.mode == "quote"


def _knows_parts(record: Mapping[str, Any]) -> bool:
    return "part" in record.get("kinds", ())


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} is {value!r} but must be one of {', '.join(allowed)}")


def _check_prompt(record: dict[str, Any], prompts: PromptBuilder, loaded: LoadedModel) -> None:
    trained = record.get("prompt_fingerprint")
    if trained is not None and trained != prompts.fingerprint:
        kind, tuned = ("adapter", loaded.adapter) if loaded.adapter is not None else ("model", loaded.weights)
        raise PromptMismatchError(
            f"the {kind} {tuned.path} was trained under prompt {str(trained)[:12]} but this reader builds prompt"
            f" {prompts.fingerprint[:12]}: use the version of rag_ft and the base model that it was trained with, or"
            " train it again"
        )
