"""The arms of a recipe, loaded and ready to answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.base import Arm
from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm, SentenceArm
from rag_ft.evaluation.arms.readers import ClosedBookArm, ReaderArm
from rag_ft.evaluation.recipe import (
    ArmChoice,
    ChatChoice,
    ClosedBookChoice,
    CrossEncoderChoice,
    ExtractiveChoice,
    FunctionChoice,
    PassageChoice,
    ReaderChoice,
    Recipe,
    SentenceChoice,
)
from rag_ft.extras import require_extra
from rag_ft.models.chat import imported_function, server_chat_model
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.models.folder import ADAPTER_WEIGHTS
from rag_ft.models.weights import NO_ADAPTER, PACKAGED

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index
    from rag_ft.models.loading import LoadedModel


def build_arms(recipe: Recipe, index: Index, reader: str = "default") -> list[Arm]:
    """The arms of a recipe; each pair of base and adapter is loaded once. Raises what loading raises."""
    loaded: dict[str, LoadedModel] = {}
    cross_encoders = CrossEncoders()
    return [
        _build(choice, recipe, index, lambda name: _loaded(reader, name, loaded), cross_encoders)
        for choice in recipe.arm
    ]


def curve_arms(recipe: Recipe, index: Index, reader: str = "default") -> Iterator[tuple[int, Arm]]:
    """Pairs of a number of records and the arm with the adapter trained on them, fewest first; loaded one by one.

    Raises EvaluationError where the folder holds no curve, and what loading raises.
    """
    like, curve = recipe.curve_arm, recipe.learning_curve
    if like is None or curve is None:
        return iter(())
    adapters = {size.records: size.adapter for size in curve.adapter} or _curve_folder(Path(curve.folder))
    threshold = None if like.threshold == "development" else like.threshold  # else the adapter's own

    def arm(records: int, adapter: str) -> tuple[int, Arm]:
        choice = like.model_copy(update={"name": f"{records} records", "adapter": adapter, "threshold": threshold})
        return records, _build(choice, recipe, index, lambda name: _loaded(reader, name, {}), CrossEncoders())

    # A missing curve is reported now, not after all other arms have been asked.
    return (arm(records, adapter) for records, adapter in sorted(adapters.items()))


def _curve_folder(folder: Path) -> dict[int, str]:
    inside = folder / "curve" if (folder / "curve").is_dir() else folder
    adapters = {
        int(adapter.name): str(adapter)
        for adapter in (inside.iterdir() if inside.is_dir() else ())
        if adapter.name.isdigit() and (adapter / ADAPTER_WEIGHTS).is_file()
    }
    if not adapters:
        raise EvaluationError(f"{folder} holds no learning curve: make one with rag-ft train --curve 3")
    return adapters


def _build(
    choice: ArmChoice,
    recipe: Recipe,
    index: Index,
    load: Callable[[str], LoadedModel],
    cross_encoders: CrossEncoders,
) -> Arm:
    from rag_ft.answering.prompt import PromptBuilder
    from rag_ft.answering.reader import Reader

    match choice:
        case SentenceChoice():
            return SentenceArm(choice.name, index.embedder)
        case PassageChoice():
            return PassageArm(choice.name, choice.pick, recipe.seed, recipe.k)
        case FunctionChoice():
            return FunctionArm(choice.name, _function(choice.name, choice.function), recipe.k)
        case ExtractiveChoice():
            from rag_ft.evaluation.arms.outside import ExtractiveArm

            return ExtractiveArm.from_pretrained(choice.name, choice.model, threshold=choice.threshold, k=recipe.k)
        case CrossEncoderChoice():
            from rag_ft.answering.encoder_alone import EncoderAlone
            from rag_ft.evaluation.arms.encoder import EncoderArm

            alone = EncoderAlone(
                cross_encoders.load(choice.cross_encoder), _threshold(choice), whole_sentences=choice.whole_sentences
            )
            return EncoderArm(choice.name, alone, choice.k or recipe.k)
        case ChatChoice():
            from rag_ft.evaluation.arms.outside import ChatArm

            where: dict[str, JsonValue] = {"factory": choice.factory} if choice.factory else {"url": choice.url}
            return ChatArm(choice.name, _chat_model(choice), recipe.k, choice.attempts, choice.at_once, where)
        case ClosedBookChoice():
            model = load(choice.adapter)
            # A tuned reader keeps the prompt that it was trained on; an untuned one is asked for what it knows.
            prompts = None if model.adapter else PromptBuilder(model.tokenizer, shots=choice.shots, closed_book=True)
            reader = Reader(model, mode="schema", threshold=_threshold(choice), prompts=prompts, passage_cache_mb=0)
            return ClosedBookArm(choice.name, reader)
        case ReaderChoice():
            reader = Reader(
                load(choice.adapter),
                mode=choice.mode,
                reading=choice.reading,
                threshold=_threshold(choice),
                shots=choice.shots,
                # An arm's seconds and memory must not depend on the passages of earlier questions.
                passage_cache_mb=0,
                whole_sentences=choice.whole_sentences,
                cross_encoder=None if choice.cross_encoder == NO_ADAPTER else cross_encoders.load(choice.cross_encoder),
            )
            return ReaderArm(
                choice.name,
                reader,
                choice.k or recipe.k,
                index if choice.gold else None,
                index if choice.whole_sentences else None,
            )


class CrossEncoders:
    """Loads each cross-encoder once; each arm has its own memory of scores, so that its seconds are its own."""

    def __init__(self) -> None:
        self._known: dict[str, CrossEncoder] = {}

    def load(self, name: str) -> CrossEncoder:
        """The packaged cross-encoder, or the one in a folder. Raises WeightsError."""
        if name not in self._known:
            self._known[name] = CrossEncoder.from_pretrained(name)
        return self._known[name].apart()


def _threshold(choice: ReaderChoice | ClosedBookChoice | CrossEncoderChoice) -> float | None:
    """An arm's threshold; 0 until one is chosen, so that every question has an answer to choose by."""
    return 0.0 if choice.threshold == "development" else choice.threshold


def _loaded(reader: str, adapter: str, known: dict[str, LoadedModel]) -> LoadedModel:
    from rag_ft.models.loading import load_model
    from rag_ft.models.weights import chosen_adapter

    if adapter not in known:
        folder = chosen_adapter(reader, None if adapter == PACKAGED else adapter)
        if adapter == PACKAGED and folder is None:
            raise EvaluationError(
                f"there is no packaged adapter for the reader {reader!r}: give the folder of an adapter"
            )
        known[adapter] = load_model(reader, adapter=folder)
    return known[adapter]


def check_chat(choice: ChatChoice) -> None:
    """Raise MissingExtraError where an arm speaks to a server, and what it needs for that is not installed."""
    if not choice.factory:
        require_extra("chat", _speaks_to_a_server(choice))


def _chat_model(choice: ChatChoice) -> Any:
    if choice.factory:
        return _function(choice.name, choice.factory)()
    return server_chat_model(
        choice.model,
        choice.url,
        key_variable=choice.key_variable,
        timeout_s=choice.timeout_s,
        work=_speaks_to_a_server(choice),
    )


def _speaks_to_a_server(choice: ChatChoice) -> str:
    return f"the arm {choice.name!r}, which speaks to a server,"


def _function(arm: str, path: str) -> Callable[..., Any]:
    return imported_function(path, f"the arm {arm!r}", EvaluationError)
