"""An evaluation as a TOML file: questions, documents, retrieval, arms and the one contrast that decides."""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from rag_ft.errors import EvaluationError, first_line, first_problem
from rag_ft.evaluation.arms import Arm, ClosedBookArm, FunctionArm, PassageArm, ReaderArm, SentenceArm
from rag_ft.evaluation.learning_curve import WORTH
from rag_ft.schema import FINGERPRINT, Question
from rag_ft.tuning_record import documents_trained_on
from rag_ft.weights import ADAPTER_WEIGHTS, PACKAGED

if TYPE_CHECKING:
    from rag_ft.index import Index
    from rag_ft.model import LoadedModel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Threshold: TypeAlias = Annotated[float, Field(ge=0, le=1)] | Literal["development"] | None
"""Confidence under which an answer becomes null. None: as the adapter was trained, or null competes by probability;
`development`: chosen on the recipe's development questions, by the rule that a tuned reader's was chosen by."""


class _Arm(_Model):
    name: Annotated[str, Field(min_length=1)]


class ClosedBookChoice(_Arm):
    """Prompting alone (adapter none) or tuning alone: no passages."""

    kind: Literal["closed book"]
    adapter: str = "none"
    """`none`, `packaged`, or a folder."""
    shots: bool = True
    """Whether two worked examples are in the prompt of an untuned reader."""
    threshold: Threshold = None


class ReaderChoice(_Arm):
    """A reader with passages."""

    kind: Literal["reader"]
    adapter: str = PACKAGED
    shots: bool | None = None
    mode: Literal["quote", "schema", "free"] = "quote"
    reading: Literal["joint", "separate"] | None = None
    threshold: Threshold = None
    k: Annotated[int, Field(ge=1)] | None = None
    """Passages; None: the recipe's."""
    gold: bool = False
    """The gold passage first, as perfect retrieval would have it."""


class SentenceChoice(_Arm):
    """Retrieval alone: the best sentence of the top passage."""

    kind: Literal["sentence"]


class PassageChoice(_Arm):
    """A whole passage as the answer."""

    kind: Literal["passage"]
    pick: Literal["top", "random"] = "top"


class ExtractiveChoice(_Arm):
    """An encoder with a span head."""

    kind: Literal["extractive"]
    model: str
    """Hub id or folder."""
    threshold: float = 0.0
    """How much better than null a span must be, in log-odds."""


class ChatChoice(_Arm):
    """A chat model: one at an OpenAI-compatible URL, or any langchain-core chat model that a function gives."""

    kind: Literal["chat"]
    model: str = ""
    url: str = ""
    """Base URL of an OpenAI-compatible server, ending in /v1; needs the extra `chat`."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; the key itself never stands in a recipe."""
    factory: Annotated[str, Field(pattern=r"^([\w.]+:\w+)?$")] = ""
    """`module:name` of a function without arguments that gives a chat model, instead of `url`."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    at_once: Annotated[int, Field(ge=1, le=64)] = 4
    timeout_s: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _one_way(self) -> ChatChoice:
        if bool(self.url and self.model) == bool(self.factory):
            raise ValueError("give url and model of a server, or the factory of a chat model")
        return self


class FunctionChoice(_Arm):
    """A function of yours: `module:name`, taking a question and its passages."""

    kind: Literal["function"]
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]


ArmChoice: TypeAlias = Annotated[
    ClosedBookChoice | ReaderChoice | SentenceChoice | PassageChoice | ExtractiveChoice | ChatChoice | FunctionChoice,
    Field(discriminator="kind"),
]


class Primary(_Model):
    """The contrast that the evaluation is for, declared before it is run."""

    first: str
    second: str
    metric: Literal["f1", "exact_match"] = "f1"


class Development(_Model):
    """Questions to choose thresholds on, about documents that the evaluation does not ask about."""

    questions: Annotated[int, Field(ge=1)] = 60
    """At most so many, drawn at random by the recipe's seed."""
    documents: tuple[str, ...] = ()
    """Those that they are about; empty: where the recipe has `only`, the documents outside it, else a share of all."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Of the documents, drawn at random by the recipe's seed, where neither `documents` nor `only` says which."""


WATTS = 65.0
"""Drawn by the machine while it answers, where the recipe does not say: a desktop processor at work. An estimate stays
an estimate; a meter's reading, or nvidia-smi's power draw plus the host's, belongs into the recipe."""


class CurveAdapter(_Model):
    """An adapter of a learning curve."""

    records: Annotated[int, Field(ge=1)]
    """That it was trained on."""
    adapter: str
    """Its folder."""


class LearningCurveChoice(_Model):
    """Adapters trained on parts of the records, asked what the arms are asked."""

    folder: str = ""
    """Made by `rag-ft train --curve`: the adapter's own, or `curve` inside it."""
    adapter: tuple[CurveAdapter, ...] = ()
    """Instead of a folder."""
    arm: str = ""
    """The arm whose settings the adapters answer with; left out: the first tuned reader with passages."""
    worth: Annotated[float, Field(gt=0, lt=1)] = WORTH
    """F1 that a doubling of the records has to bring to be worth its labelling."""

    @model_validator(mode="after")
    def _one_way(self) -> LearningCurveChoice:
        if bool(self.folder) == bool(self.adapter):
            raise ValueError("give the folder that rag-ft train --curve made, or adapters with their records")
        sizes = [one.records for one in self.adapter]
        for size in sizes:
            if sizes.count(size) > 1:
                raise ValueError(f"two adapters were trained on {size} records: give one for each size")
        return self


class Price(_Model):
    """What an arm's answers cost, in the recipe's currency."""

    watts: Annotated[float, Field(ge=0)] | None = None
    """Drawn by the machine while the arm answers; None: 65, and unknown for a model at somebody else's."""

    hour: Annotated[float, Field(ge=0)] = 0.0
    """Of the machine that answers."""
    prompt_million: Annotated[float, Field(ge=0)] = 0.0
    """Of a million prompt tokens, for a model that is paid by the token."""
    completion_million: Annotated[float, Field(ge=0)] = 0.0


class Prices(_Model):
    """Prices by arm, and of the training that they have to earn back."""

    currency: str = "USD"
    training: Annotated[float, Field(ge=0)] | None = None
    """What the adapter cost: machine, labelling, time."""
    arms: dict[str, Price] = {}
    """By the arm's name; `*` for all others."""


class Recipe(_Model):
    """All that an evaluation is made from; paths count from the recipe's folder."""

    title: str
    questions: str
    documents: str
    """Folder or file that the index is built from."""
    split: Literal["all", "held out"] = "all"
    """`held out`: only questions whose document `split_adapter` was not trained on."""
    split_adapter: str = PACKAGED
    only: tuple[str, ...] = ()
    """Documents whose questions are asked; empty: all."""
    sample: Annotated[int, Field(ge=1)] | None = None
    """Ask so many questions, drawn at random by `seed`."""
    k: Annotated[int, Field(ge=1, le=100)] = 3
    retrieval: Literal["dense", "bm25", "hybrid", "blend"] = "blend"
    faithfulness: bool = False
    """Also ask the arms that read with the answer swapped in the gold passage."""
    robustness: Annotated[int, Field(ge=0)] = 0
    """Ask so many questions, drawn by `seed`, under each condition of retrieval, for a heat map; 0: none."""
    show_questions: bool = True
    """Whether the report shows questions with their text; off where the text may not be passed on."""
    seed: Annotated[int, Field(ge=0)] = 0
    primary: Primary
    development: Development | None = None
    learning_curve: LearningCurveChoice | None = None
    prices: Prices | None = None
    arm: Annotated[tuple[ArmChoice, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_fit(self) -> Recipe:
        names = [one.name for one in self.arm]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two arms are named {name!r}")
        for name in (self.primary.first, self.primary.second):
            if name not in names:
                raise ValueError(f"primary names the arm {name!r}, and the arms are {', '.join(names)}")
        for name in self.prices.arms if self.prices else ():
            if name not in (*names, "*"):
                raise ValueError(f"prices name the arm {name!r}, and the arms are {', '.join(names)}")
        _ = self.curve_arm  # raises where a learning curve has no arm to be like
        if self.choosing and self.development is None:
            raise ValueError(
                f"the arm {self.choosing[0]!r} chooses its threshold on development questions, and there is no"
                " [development] table"
            )
        both = sorted({*self.only} & {*(self.development.documents if self.development else ())})
        if both:
            raise ValueError(f"{both[0]!r} is in both 'only' and development's documents")
        return self

    @property
    def curve_arm(self) -> ReaderChoice | None:
        """The arm whose settings the adapters of the learning curve answer with. Raises ValueError for none."""
        if self.learning_curve is None:
            return None
        name = self.learning_curve.arm
        readers = [one for one in self.arm if isinstance(one, ReaderChoice) and one.adapter != "none"]
        fitting = [one for one in readers if (one.name == name if name else not one.gold)]
        if not fitting:
            wanted = f"the arm {name!r}" if name else "a tuned reader with passages"
            raise ValueError(f"learning_curve asks as {wanted} does, and no arm of kind 'reader' is that")
        return fitting[0]

    @property
    def choosing(self) -> list[str]:
        """Names of the arms whose threshold is chosen on development questions."""
        return [one.name for one in self.arm if getattr(one, "threshold", None) == "development"]

    def limited(self, count: int) -> Recipe:
        """The same with at most so many questions, judged and for development each."""
        small = self.development and self.development.model_copy(
            update={"questions": min(count, self.development.questions)}
        )
        return self.model_copy(update={"sample": count, "development": small})


def read_recipe(path: str | Path) -> Recipe:
    """A recipe file, its paths made absolute. Raises EvaluationError naming the line."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror}): give a recipe, a .toml file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} is not TOML ({error}): correct it") from error
    for name in ("questions", "documents"):
        if isinstance(content.get(name), str):
            content[name] = str((path.parent / content[name]).resolve())
    for one in content.get("arm", ()) if isinstance(content.get("arm"), list) else ():
        _resolve_adapter(one, "adapter", path.parent)
    _resolve_adapter(content, "split_adapter", path.parent)
    curve = content.get("learning_curve")
    _resolve_adapter(curve, "folder", path.parent)
    for one in curve.get("adapter", ()) if isinstance(curve, dict) and isinstance(curve.get("adapter"), list) else ():
        _resolve_adapter(one, "adapter", path.parent)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        line = _line_of(text, error.errors(include_url=False)[0]["loc"])
        place = f"{path}, line {line}" if line else str(path)
        raise EvaluationError(f"{place}: {first_problem(error)}: correct the recipe") from error


def _resolve_adapter(table: Any, name: str, folder: Path) -> None:
    if isinstance(table, dict) and isinstance(table.get(name), str) and table[name] not in ("none", PACKAGED):
        table[name] = str((folder / table[name]).resolve())


def _line_of(text: str, loc: Sequence[str | int]) -> int | None:
    """The line that a pydantic location is about, as near as the text tells: the key, or the head of its arm."""
    lines = text.splitlines()
    begin = 0
    if len(loc) > 1 and loc[0] == "arm" and isinstance(loc[1], int):
        heads = [number for number, line in enumerate(lines) if line.strip() == "[[arm]]"]
        if loc[1] >= len(heads):
            return None
        begin = heads[loc[1]]
    elif len(loc) > 1:
        head = re.compile(rf"\s*(\[+{re.escape(str(loc[0]))}[\].]|{re.escape(str(loc[0]))}\s*=)")
        begin = next((number for number, line in enumerate(lines) if head.match(line)), 0)
    ends = next((number for number in range(begin + 1, len(lines)) if lines[number].lstrip().startswith("[")), None)
    # From the innermost name outwards: the last ones may be pydantic's names for the kinds of value that were tried.
    for key in (part for part in reversed(loc) if isinstance(part, str)):
        for number in range(begin, len(lines) if ends is None else ends):
            if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", lines[number]):
                return number + 1
    return begin + 1 if begin or loc else None


def choose_questions(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> list[Question]:
    """The questions of a recipe in the file's order: by document, split and sample; none about a development document.

    Raises EvaluationError for none.
    """
    chosen = [
        one for one in records if not recipe.only or any(piece.document_id in recipe.only for piece in one.evidence)
    ]
    about = frozenset[str]().union(*(_documents(one) for one in records))
    named = {"only": recipe.only, "[development] documents": recipe.development.documents if recipe.development else ()}
    for where, names in named.items():
        unknown = [name for name in names if name not in about]
        if unknown:
            raise EvaluationError(
                f"none of {len(records)} questions is about {', '.join(unknown[:3])}: correct '{where}', or leave it"
                " out"
            )
    chosen = _held_out(recipe, chosen, trained_on)
    apart = _development_documents(recipe, records, trained_on)
    judged = [one for one in chosen if not _documents(one) & apart]
    if not judged:
        raise EvaluationError(
            f"all {len(chosen)} questions are about the {len(apart)} development documents: name fewer documents there,"
            " or take a smaller share"
        )
    return _sampled(judged, recipe.sample, str(recipe.seed))


def development_questions(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> list[Question]:
    """The questions that thresholds are chosen on, in the file's order; none without `development` in the recipe.

    All of their documents are development documents, so that nothing of what is judged is seen. Raises EvaluationError
    where there should be some and are none.
    """
    if recipe.development is None:
        return []
    apart = _development_documents(recipe, records, trained_on)
    found = [one for one in records if _documents(one) <= apart]
    if not found:
        raise EvaluationError(
            f"none of {len(records)} questions is about development documents alone: name other documents in"
            " [development], or leave them out"
        )
    return _sampled(found, recipe.development.questions, f"development {recipe.seed}")


def _development_documents(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> frozenset[str]:
    asked = recipe.development
    if asked is None:
        return frozenset()
    if asked.documents:
        return frozenset(asked.documents)
    names = sorted(set().union(*(_documents(one) for one in _held_out(recipe, records, trained_on))))
    if recipe.only:
        return frozenset(names) - {*recipe.only}
    if len(names) < 2:
        raise EvaluationError(
            "all questions are about one document, and thresholds are chosen on others than are judged: give the arms"
            " thresholds, or ask about more documents"
        )
    random.Random(f"development {recipe.seed}").shuffle(names)
    return frozenset(names[: min(max(1, round(asked.share * len(names))), len(names) - 1)])


def _documents(question: Question) -> frozenset[str]:
    """The documents that a question is about; one without evidence stands for itself."""
    return frozenset(piece.document_id for piece in question.evidence) or frozenset({f"question {question.id}"})


def _held_out(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> list[Question]:
    if recipe.split == "all":
        return list(records)
    kept = [one for one in records if not any(piece.document_id in trained_on for piece in one.evidence)]
    if not kept:
        raise EvaluationError(
            f"the adapter {recipe.split_adapter} was trained on the documents of all {len(records)} questions: ask"
            " about others, or compare with split = 'all' and read the figures as memory"
        )
    return kept


def _sampled(records: Sequence[Question], count: int | None, seed: str) -> list[Question]:
    if count is None or count >= len(records):
        return list(records)
    return [records[place] for place in sorted(random.Random(seed).sample(range(len(records)), count))]


def build_arms(recipe: Recipe, index: Index, reader: str = "default") -> list[Arm]:
    """The arms of a recipe; each base with its adapter is loaded once. Raises what loading raises."""
    loaded: dict[str, LoadedModel] = {}
    return [_build(one, recipe, index, lambda name: _loaded(reader, name, loaded)) for one in recipe.arm]


def curve_arms(recipe: Recipe, index: Index, reader: str = "default") -> Iterator[tuple[int, Arm]]:
    """Records → an arm with the adapter trained on them, from the fewest; each is loaded when it is asked for.

    Raises EvaluationError where the folder holds no curve, and what loading raises.
    """
    like, curve = recipe.curve_arm, recipe.learning_curve
    if like is None or curve is None:
        return iter(())
    adapters = {one.records: one.adapter for one in curve.adapter} or _curve_folder(Path(curve.folder))
    threshold = None if like.threshold == "development" else like.threshold  # else the adapter's own

    def arm(records: int, adapter: str) -> tuple[int, Arm]:
        choice = like.model_copy(update={"name": f"{records} records", "adapter": adapter, "threshold": threshold})
        return records, _build(choice, recipe, index, lambda name: _loaded(reader, name, {}))

    # That there is no curve is told at once, not when all other arms were asked.
    return (arm(records, adapter) for records, adapter in sorted(adapters.items()))


def _curve_folder(folder: Path) -> dict[int, str]:
    inside = folder / "curve" if (folder / "curve").is_dir() else folder
    found = {
        int(one.name): str(one)
        for one in (inside.iterdir() if inside.is_dir() else ())
        if one.name.isdigit() and (one / ADAPTER_WEIGHTS).is_file()
    }
    if not found:
        raise EvaluationError(f"{folder} holds no learning curve: make one by rag-ft train --curve 3")
    return found


def _build(choice: ArmChoice, recipe: Recipe, index: Index, load: Callable[[str], LoadedModel]) -> Arm:
    from rag_ft.prompt import PromptBuilder
    from rag_ft.reader import Reader

    match choice:
        case SentenceChoice():
            return SentenceArm(choice.name, index.embedder)
        case PassageChoice():
            return PassageArm(choice.name, choice.pick, recipe.seed, recipe.k)
        case FunctionChoice():
            return FunctionArm(choice.name, _function(choice.name, choice.function), recipe.k)
        case ExtractiveChoice():
            from rag_ft.evaluation.outside_arms import ExtractiveArm

            return ExtractiveArm.from_pretrained(choice.name, choice.model, threshold=choice.threshold, k=recipe.k)
        case ChatChoice():
            from rag_ft.evaluation.outside_arms import ChatArm

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
                # An arm's seconds and memory must not depend on which passages the questions before brought.
                passage_cache_mb=0,
            )
            return ReaderArm(choice.name, reader, choice.k or recipe.k, index if choice.gold else None)


def _threshold(choice: ReaderChoice | ClosedBookChoice) -> float | None:
    """0 until it is chosen: every question is answered, with a confidence to choose by."""
    return 0.0 if choice.threshold == "development" else choice.threshold


def _loaded(reader: str, adapter: str, known: dict[str, LoadedModel]) -> LoadedModel:
    from rag_ft.model import load_model
    from rag_ft.weights import chosen_adapter

    if adapter not in known:
        folder = chosen_adapter(reader, None if adapter == PACKAGED else adapter)
        if adapter == PACKAGED and folder is None:
            raise EvaluationError(
                f"there is no packaged adapter for the reader {reader!r}: name a folder in the recipe"
            )
        known[adapter] = load_model(reader, adapter=folder)
    return known[adapter]


def _chat_model(choice: ChatChoice) -> Any:
    if choice.factory:
        return _function(choice.name, choice.factory)()
    try:
        from langchain_openai import ChatOpenAI
    except ImportError as error:
        raise EvaluationError(
            f"the arm {choice.name!r} speaks to a server and needs langchain-openai: pip install 'rag-ft[chat]'"
        ) from error
    return ChatOpenAI(
        model=choice.model,
        base_url=choice.url,
        api_key=os.environ.get(choice.key_variable) or "none",
        temperature=0,
        timeout=choice.timeout_s,
        max_retries=0,  # the arm has its own
    )


def _function(arm: str, path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # the module is its writer's, and may raise anything
        reason = first_line(error)
        raise EvaluationError(
            f"the arm {arm!r}: {path} cannot be imported ({reason}): check module and name"
        ) from error
    if not callable(found):
        raise EvaluationError(f"the arm {arm!r}: {path} is no function")
    return found  # type: ignore[no-any-return]


def trained_documents(record: Mapping[str, Any], index: Index) -> frozenset[str]:
    """Documents of an index that an adapter was trained on.

    By fingerprint, so that a renamed document is found and another one of the same name is not; by name where the
    adapter's record holds no fingerprints.
    """
    known = documents_trained_on(record)
    if not known:
        return frozenset((record.get("data") or {}).get("documents", ()))
    return frozenset(name for name in index.documents() if index.document_fingerprint(name)[:FINGERPRINT] in known)
