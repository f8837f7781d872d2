"""An evaluation as a TOML file: questions, documents, retrieval, arms and the one contrast that decides."""

from __future__ import annotations

import operator
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag_ft.errors import EvaluationError, first_problem
from rag_ft.models.chat import CURRENCY, TokenPrice
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.models.weights import NO_ADAPTER, PACKAGED

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index
    from rag_ft.indexing.retriever import Retriever

WORTH = 0.01
"""Default of the F1 that a doubling of the records must bring to be worth its labelling."""


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


ArmThreshold: TypeAlias = Annotated[float, Field(ge=0, le=1)] | Literal["development"] | None
"""Confidence under which an answer becomes null. None: the adapter's own, or without one null competes by probability;
`development`: chosen on the recipe's development questions, by the rule that `rag-ft train` chooses by."""


class _Arm(_Model):
    name: Annotated[str, Field(min_length=1)]


class ClosedBookChoice(_Arm):
    """A reader without passages: prompting alone (adapter `none`), or tuning alone."""

    kind: Literal["closed book"]
    adapter: str = "none"
    """The adapter: `none`, `packaged`, or a folder."""
    shots: bool = True
    """Whether the prompt of an untuned reader has two worked examples."""
    threshold: ArmThreshold = None


class ReaderChoice(_Arm):
    """A reader with passages: retrieval with prompting (adapter `none`), or with tuning."""

    kind: Literal["reader"]
    adapter: str = PACKAGED
    shots: bool | None = None
    mode: Literal["quote", "schema", "free"] = "quote"
    reading: Literal["joint", "separate"] | None = None
    threshold: ArmThreshold = None
    k: Annotated[int, Field(ge=1)] | None = None
    """Number of passages; None: the recipe's."""
    gold: bool = False
    """Whether the gold passage comes first, as with perfect retrieval."""
    whole_sentences: bool = False
    """Whether how, why, yes/no and the like are answered with whole sentences, and lists to their end, as `rag-ft ask`
    answers them with the packaged adapter. False: with the words that the reader chose, to judge the reader alone."""
    cross_encoder: str = "none"
    """What helps to choose words, and chooses the whole sentences: `packaged`, as in `rag-ft ask`, or the folder of a
    cross-encoder. `none`: the reader chooses the words alone, and sentences are those around them."""

    @model_validator(mode="after")
    def _sentences_are_quoted(self) -> ReaderChoice:
        if self.whole_sentences and self.mode != "quote":
            raise ValueError(
                f"whole_sentences is true, but mode is {self.mode!r}: only mode 'quote' gives sentences of a passage"
            )
        if self.cross_encoder != "none" and self.mode != "quote":
            raise ValueError(
                f"cross_encoder chooses words and sentences to quote, but mode is {self.mode!r}: leave one of them out"
            )
        return self


class SentenceChoice(_Arm):
    """Retrieval alone: the best sentence of the top passage."""

    kind: Literal["sentence"]


class PassageChoice(_Arm):
    """A whole passage as the answer: the top one, or a random one."""

    kind: Literal["passage"]
    pick: Literal["top", "random"] = "top"


class ExtractiveChoice(_Arm):
    """An encoder with a span head, as trained on SQuAD."""

    kind: Literal["extractive"]
    model: str
    """The encoder's hub id or folder."""
    threshold: float = 0.0
    """Lowest log-odds of a span over null at which it is given as the answer."""


class CrossEncoderChoice(_Arm):
    """The cross-encoder alone: what it would answer without a generator."""

    kind: Literal["cross-encoder"]
    cross_encoder: str = PACKAGED
    """`packaged`, or a folder that `rag-ft train --tune cross-encoder` wrote."""
    threshold: ArmThreshold = None
    """Of words. None: they must be likelier than none. Sentences have the one in the cross-encoder's record."""
    k: Annotated[int, Field(ge=1)] | None = None
    """Number of passages; None: the recipe's."""
    whole_sentences: bool = False
    """Whether how, why, yes/no and the like are answered with whole sentences, as by a reader with this setting."""

    @model_validator(mode="after")
    def _chosen_for_words(self) -> CrossEncoderChoice:
        if self.whole_sentences and self.threshold == "development":
            raise ValueError(
                "a threshold chosen on development questions is for words, and whole_sentences gives sentences, too,"
                " which have another: leave one of them out"
            )
        return self


class ChatChoice(_Arm):
    """A chat model: one at an OpenAI-compatible URL, or any langchain-core chat model that a function returns."""

    kind: Literal["chat"]
    model: str = ""
    url: str = ""
    """Base URL of an OpenAI-compatible server, ending in /v1; needs the extra `chat`."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a recipe never contains the key itself."""
    factory: Annotated[str, Field(pattern=r"^([\w.]+:\w+)?$")] = ""
    """`module:name` of a function without arguments that returns a chat model; instead of `url`."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    at_once: Annotated[int, Field(ge=1, le=64)] = 4
    timeout_s: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _one_way(self) -> ChatChoice:
        if bool(self.url and self.model) == bool(self.factory):
            raise ValueError("give the url and model of a server, or the factory of a chat model, and not both")
        return self


class FunctionChoice(_Arm):
    """A function of yours, `module:name`, that takes a question and its passages and returns an answer or None."""

    kind: Literal["function"]
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]


ArmChoice: TypeAlias = Annotated[
    ClosedBookChoice
    | ReaderChoice
    | SentenceChoice
    | PassageChoice
    | CrossEncoderChoice
    | ExtractiveChoice
    | ChatChoice
    | FunctionChoice,
    Field(discriminator="kind"),
]


class Primary(_Model):
    """The contrast that the evaluation is for, declared before the run."""

    first: str
    second: str
    metric: Literal["f1", "exact_match"] = "f1"


class Development(_Model):
    """Questions to choose thresholds on, about documents that the evaluation does not judge by."""

    questions: Annotated[int, Field(ge=1)] = 60
    """Maximum number of questions, drawn at random by the recipe's seed."""
    documents: tuple[str, ...] = ()
    """Documents that they are about; empty: those outside the recipe's `only`, or without it a share of all."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the documents, drawn at random by the recipe's seed, where neither `documents` nor `only` names them."""


WATTS = 65.0
"""Power of the machine while it answers, if the recipe gives none: a desktop processor under load. This is an estimate;
put a meter's reading, or nvidia-smi's power draw plus the host's, in the recipe."""


class CurveAdapter(_Model):
    """An adapter of a learning curve and the number of records it was trained on."""

    records: Annotated[int, Field(ge=1)]
    """Number of records that the adapter was trained on."""
    adapter: str
    """The adapter's folder."""


class LearningCurveChoice(_Model):
    """Adapters trained on parts of the records, asked the same questions as the arms."""

    folder: str = ""
    """A folder made by `rag-ft train --curve`: the adapter's, or `curve` inside it."""
    adapter: tuple[CurveAdapter, ...] = ()
    """The adapters one by one, instead of `folder`."""
    arm: str = ""
    """The arm whose settings the adapters answer with; default: the first tuned reader with passages."""
    worth: Annotated[float, Field(gt=0, lt=1)] = WORTH
    """F1 that a doubling of the records must bring to be worth its labelling."""

    @model_validator(mode="after")
    def _one_way(self) -> LearningCurveChoice:
        if bool(self.folder) == bool(self.adapter):
            raise ValueError(
                "give the folder that rag-ft train --curve made, or adapters with their records, and not both"
            )
        sizes = [size.records for size in self.adapter]
        for size in sizes:
            if sizes.count(size) > 1:
                raise ValueError(f"two adapters were trained on {size} records: give one adapter per size")
        return self


class Price(TokenPrice):
    """Prices and power of the machine or service that an arm answers with."""

    watts: Annotated[float, Field(ge=0)] | None = None
    """Power of the machine while the arm answers; None: 65, or unknown for a chat model."""

    hour: Annotated[float, Field(ge=0)] = 0.0
    """Price per hour of the machine that answers."""


class Prices(_Model):
    """Prices by arm, and of the training, to tell when it has paid for itself."""

    currency: str = CURRENCY
    training: Annotated[float, Field(ge=0)] | None = None
    """Cost of the adapter: machine, labelling, time."""
    arms: dict[str, Price] = {}
    """Prices by the arm's name; `*` for all others."""


class Recipe(_Model):
    """Everything that an evaluation is made from; in a file, paths are relative to the recipe's folder."""

    title: str
    questions: str = ""
    """File of question records; empty where only feedback is asked."""
    feedback: Annotated[str, Field(exclude_if=operator.not_)] = ""
    """Folder of an index: the question records of the feedback kept beside it are asked too."""
    documents: str
    """Folder or file that the index is built from."""
    split: Literal["all", "held out"] = "all"
    """`held out` asks only questions about documents that `split_adapter` was not trained on."""
    split_adapter: str = PACKAGED
    only: tuple[str, ...] = ()
    """Documents whose questions are asked; empty: all documents."""
    sample: Annotated[int, Field(ge=1)] | None = None
    """Number of questions to ask, drawn at random by `seed`; None: all."""
    k: Annotated[int, Field(ge=1, le=100)] = 3
    retrieval: Literal["dense", "bm25", "hybrid", "blend"] = "blend"
    rerank: bool | str = False
    """Whether the packaged cross-encoder, or the one in this folder, puts the best passages in order, as in `rag-ft
    ask`."""
    faithfulness: bool = False
    """Whether to ask the reading arms again with the answer swapped in the gold passage."""
    robustness: Annotated[int, Field(ge=0)] = 0
    """Number of questions to ask under each condition of retrieval, for a heat map; 0: none."""
    show_questions: bool = True
    """Whether the report shows the text of questions; turn off where it may not be shared."""
    seed: Annotated[int, Field(ge=0)] = 0
    primary: Primary
    development: Development | None = None
    learning_curve: LearningCurveChoice | None = None
    prices: Prices | None = None
    arm: Annotated[tuple[ArmChoice, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _something_is_asked(self) -> Recipe:
        if not self.questions and not self.feedback:
            raise ValueError("give questions, a file of records, or feedback, the folder of an index that has some")
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> Recipe:
        names = [arm.name for arm in self.arm]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two arms are named {name!r}: give each its own name")
        for name in (self.primary.first, self.primary.second):
            if name not in names:
                raise ValueError(f"primary names the arm {name!r}, but the arms are {', '.join(names)}")
        for name in self.prices.arms if self.prices else ():
            if name not in (*names, "*"):
                raise ValueError(f"prices name the arm {name!r}, but the arms are {', '.join(names)}")
        _ = self.curve_arm  # raises if no arm fits the learning curve
        if self.choosing and self.development is None:
            raise ValueError(
                f"the arm {self.choosing[0]!r} chooses its threshold on development questions, but there is no"
                " [development] table"
            )
        shared = sorted({*self.only} & {*(self.development.documents if self.development else ())})
        if shared:
            raise ValueError(f"{shared[0]!r} is in both 'only' and development's documents")
        return self

    @property
    def curve_arm(self) -> ReaderChoice | None:
        """The arm whose settings the learning curve's adapters answer with. Raises ValueError if no arm fits."""
        if self.learning_curve is None:
            return None
        name = self.learning_curve.arm
        readers = [arm for arm in self.arm if isinstance(arm, ReaderChoice) and arm.adapter != "none"]
        fitting = [arm for arm in readers if (arm.name == name if name else not arm.gold)]
        if not fitting:
            wanted = f"the arm {name!r}" if name else "a tuned reader with passages"
            raise ValueError(f"learning_curve needs {wanted}, but no arm of kind 'reader' is that")
        return fitting[0]

    @property
    def choosing(self) -> list[str]:
        """Names of the arms whose threshold is chosen on development questions."""
        return [arm.name for arm in self.arm if getattr(arm, "threshold", None) == "development"]

    @property
    def deepest_k(self) -> int:
        """Number of passages retrieved once for all arms: as many as the arm with most reads."""
        return max([self.k, *(getattr(choice, "k", None) or 0 for choice in self.arm)])

    def retriever(self, index: Index, k: int) -> Retriever:
        """The search that all arms share. Raises WeightsError where it reranks and the cross-encoder is damaged."""
        name = PACKAGED if self.rerank is True else self.rerank
        reranker = CrossEncoder.from_pretrained(name) if name else None
        return index.as_retriever(k=k, mode=self.retrieval, reranker=reranker)

    def limited(self, count: int) -> Recipe:
        """A copy that asks at most `count` questions, and chooses thresholds on at most `count`."""
        development = self.development and self.development.model_copy(
            update={"questions": min(count, self.development.questions)}
        )
        return self.model_copy(update={"sample": count, "development": development})


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe file, making its paths absolute. Raises EvaluationError naming the key."""
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be read ({error.strerror}): give a recipe, which is a .toml file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} is not valid TOML ({error}): correct the recipe") from error
    for key in ("questions", "documents", "feedback"):
        if isinstance(content.get(key), str) and content[key]:
            content[key] = str((path.parent / content[key]).resolve())
    for table in content.get("arm", ()) if isinstance(content.get("arm"), list) else ():
        _resolve_adapter(table, "adapter", path.parent)
        _resolve_adapter(table, "cross_encoder", path.parent)
    _resolve_adapter(content, "split_adapter", path.parent)
    _resolve_adapter(content, "rerank", path.parent)
    curve = content.get("learning_curve")
    _resolve_adapter(curve, "folder", path.parent)
    sizes = curve.get("adapter") if isinstance(curve, dict) else None
    for table in sizes if isinstance(sizes, list) else ():
        _resolve_adapter(table, "adapter", path.parent)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise EvaluationError(f"{path}: {first_problem(error)}: correct the recipe") from error


def _resolve_adapter(table: Any, key: str, folder: Path) -> None:
    if isinstance(table, dict) and isinstance(table.get(key), str) and table[key] not in (NO_ADAPTER, PACKAGED):
        table[key] = str((folder / table[key]).resolve())
