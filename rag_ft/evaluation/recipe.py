"""An evaluation as a TOML file: questions, documents, retrieval, arms and the one contrast that decides."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag_ft.errors import EvaluationError, first_problem
from rag_ft.models.weights import PACKAGED

WORTH = 0.01
"""F1 that a doubling of the records has to bring to be worth its labelling, where nobody says otherwise."""


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
