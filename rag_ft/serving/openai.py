"""OpenAI's chat completions in terms of questions and answers: what its clients send, and what they get.

The last user message is the question; the documents are the index's. `model` names an adapter. The reader quotes, so
settings of free generation (temperature, seed, a token limit) change nothing and are accepted; what asks for something
that cannot be given (several choices, tools, log-probabilities) is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from pydantic import BaseModel, ConfigDict, Field, field_validator
from referencing.exceptions import Unresolvable

from rag_ft.errors import UsageError, first_line
from rag_ft.schema import Answer

DEFAULT_MODEL = "rag-ft"
"""Names the reader with the adapter that it started with."""

NO_ANSWER = "The documents do not answer this question."


class TextPart(BaseModel):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _text_alone(cls, content: Any) -> Any:
        kinds = [part.get("type") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        other = [kind for kind in kinds if kind != "text"]
        if other:
            raise ValueError(f"a part of the message is {str(other[0])[:40]!r}, and only text parts are read here")
        return content

    @property
    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class JsonSchemaFormat(BaseModel):
    """The schema that the content must follow."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = "answer"
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = Field(default_factory=dict)
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """What the content is: plain text, the answer's JSON, or the part of it that a schema names."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchemaFormat | None = None


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool | None = False


class ChatRequest(BaseModel):
    """A chat completion to make. Unknown fields are accepted: clients send what other servers need."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "model": DEFAULT_MODEL,
                "messages": [{"role": "user", "content": "What does gradient checkpointing cost?"}],
            }
        },
    )

    model: str = DEFAULT_MODEL
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    n: int | None = 1
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    tool_choice: Any = None
    logprobs: bool | None = None

    @property
    def question(self) -> str:
        """The last user message. Raises UsageError."""
        for message in reversed(self.messages):
            if message.role == "user":
                if not message.text.strip():
                    break
                return message.text.strip()
        raise UsageError("the messages hold no question: the last one of role 'user' is asked")

    def check(self) -> None:
        """Raise UsageError for what cannot be given."""
        if self.n not in (None, 1):
            raise UsageError(f"n is {self.n}: there is one answer to a question")
        if self.tools or self.functions or self.tool_choice not in (None, "none", "auto"):
            raise UsageError("tools and functions are not called here: leave them out")
        if self.logprobs:
            raise UsageError(
                "log-probabilities are not given; the answer's confidence is, in choices[0].message.rag_ft"
            )
        if self.response_format is not None and self.response_format.type == "json_schema":
            if self.response_format.json_schema is None:
                raise UsageError("response_format json_schema lacks its json_schema")
            schema = self.response_format.json_schema.schema_
            _refuse_reaching_out(schema)  # first, because the check takes a while for a large one
            try:
                Draft202012Validator.check_schema(schema)
            except RecursionError as error:
                raise UsageError("response_format's schema is nested too deeply: make it flatter") from error
            except SchemaError as error:
                raise UsageError(f"response_format's schema is no JSON schema ({error.message[:120]})") from error


_NOT_CHECKED = ("patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef")

MOST_PARTS = 1_000
"""Objects and lists in a schema: the check takes half a millisecond for each, and an answer's own has 300."""

MOST_REFERENCES = 2_000
"""Followed for one answer: a schema of 3 kB whose definitions refer to each other twice could ask for a billion."""


class _References:
    """Counts the references that are followed for one answer."""

    def __init__(self) -> None:
        self._left = MOST_REFERENCES

        def reference(validator: Any, target: Any, instance: Any, around: Any) -> Iterator[Any]:
            self.follow()
            yield from Draft202012Validator.VALIDATORS["$ref"](validator, target, instance, around) or ()

        self.validator: Any = extend(Draft202012Validator, {"$ref": reference})  # type: ignore[no-untyped-call]
        """Class of validators that count."""

    def follow(self) -> None:
        """One more. Raises UsageError beyond the bound."""
        self._left -= 1
        if self._left < 0:
            raise UsageError(
                f"response_format's schema takes more than {MOST_REFERENCES:,} references to check one answer: make it"
                " simpler"
            )


def _refuse_reaching_out(schema: Any) -> None:
    """Raise UsageError for what would fetch something, could run for ever, evades the count of references, or refers to
    what is no schema.
    """
    waiting, parts = [schema], 0
    while waiting:
        one = waiting.pop()
        parts += isinstance(one, list | dict)
        if parts > MOST_PARTS:
            raise UsageError(f"response_format's schema has more than {MOST_PARTS:,} parts: make it smaller")
        if isinstance(one, float) and not math.isfinite(one):
            raise UsageError(f"response_format's schema holds {one}, which is no JSON number: leave it out")
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            target = one.get("$ref")
            if isinstance(target, str) and _definition(schema, target) is None:
                raise UsageError(
                    f"response_format's schema refers to {target[:80]!r}: refer to a schema in its own $defs only"
                )
            if isinstance(one.get("pattern"), str):
                raise UsageError("response_format's schema has a pattern, which is not checked here: leave it out")
            for name in _NOT_CHECKED:
                if name in one:
                    raise UsageError(f"response_format's schema has {name}, which is not checked here: leave it out")
            if isinstance(one.get("$schema"), str) and one is not schema:
                raise UsageError("response_format's schema names another $schema inside: name it at the top only")
            waiting.extend(one.values())


def _definition(schema: dict[str, Any], reference: str) -> Any:
    """What a reference names, in the places that a schema's own check has looked at; None where it names nothing."""
    where, _, name = reference.removeprefix("#/").partition("/")
    known = schema.get(where) if where in _DEFINITIONS and reference.startswith("#/") else None
    found = known.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(known, dict) else None
    return found if isinstance(found, dict | bool) else None


_DEFINITIONS = ("$defs", "definitions")


def content_of(answer: Answer, wanted: ResponseFormat | None) -> str:
    """The message's content in the format asked for. Raises UsageError where the answer cannot follow the schema."""
    if wanted is None or wanted.type == "text":
        return answer.answer if answer.answer is not None else NO_ANSWER
    whole = answer.model_dump(mode="json")
    if wanted.type == "json_object" or wanted.json_schema is None:
        return json.dumps(whole, ensure_ascii=False)
    schema = wanted.json_schema.schema_
    references = _References()
    try:
        part = _project(whole, schema, schema, references)
        references.validator(schema).validate(part)
    except (RecursionError, Unresolvable) as error:
        raise UsageError(
            "response_format's schema refers to nothing, or to itself without end: mend its $ref"
        ) from error
    except ValidationError as error:
        where = ".".join(str(step) for step in error.absolute_path) or "the answer"
        raise UsageError(
            f"an answer cannot follow the schema {wanted.json_schema.name!r}: {where}: {error.message[:200]};"
            " take fields and types from docs/answer.schema.json"
        ) from error
    except UsageError:
        raise
    except Exception as error:  # whatever else a validator stumbles over is the schema's fault, too
        raise UsageError(
            f"response_format's schema cannot be checked ({first_line(error)}): make it simpler"
        ) from error
    return json.dumps(part, ensure_ascii=False)


def _project(value: Any, schema: Any, root: dict[str, Any], references: _References, depth: int = 0) -> Any:
    """The part of a value that a schema names: of an object the properties, of a list its items' parts."""
    if not isinstance(schema, dict) or depth > 20:
        return value
    reference = schema.get("$ref")
    if isinstance(reference, str):
        references.follow()
        return _project(value, _definition(root, reference), root, references, depth + 1)
    for one in schema.get("anyOf") or schema.get("oneOf") or ():
        part = _project(value, one, root, references, depth + 1)
        if isinstance(one, dict):
            option = references.validator({**one, **{name: root.get(name, {}) for name in _DEFINITIONS}})
            if option.is_valid(part):
                return part
    properties = schema.get("properties")
    if isinstance(value, dict) and isinstance(properties, dict):
        return {
            name: _project(value[name], one, root, references, depth + 1)
            for name, one in properties.items()
            if name in value
        }
    if isinstance(value, list) and "items" in schema:
        return [_project(item, schema["items"], root, references, depth + 1) for item in value]
    return value


def usage_of(answer: Answer) -> dict[str, int]:
    """Tokens as OpenAI counts them."""
    prompt, made = answer.usage.prompt_tokens, answer.usage.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


def completion_of(answer: Answer, content: str, *, name: str, model: str, created: int) -> dict[str, Any]:
    """A whole chat completion; the message's extra field `rag_ft` holds the answer with its citations."""
    return {
        "id": name,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": content,
                    "refusal": None,
                    "rag_ft": answer.model_dump(mode="json"),
                },
                "finish_reason": "stop" if answer.complete else "length",
                "logprobs": None,
            }
        ],
        "usage": usage_of(answer),
    }


def chunks_of(
    answer: Answer, content: str, *, name: str, model: str, created: int, with_usage: bool
) -> list[dict[str, Any]]:
    """The same as the pieces of a stream. The reader knows nothing before it knows all: the content is one piece."""
    head = {"id": name, "object": "chat.completion.chunk", "created": created, "model": model}

    def chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}

    finish = "stop" if answer.complete else "length"
    made = [
        chunk({"role": "assistant", "content": ""}, None),
        chunk({"content": content}, None),
        chunk({"rag_ft": answer.model_dump(mode="json")}, finish),
    ]
    if with_usage:
        made.append({**head, "choices": [], "usage": usage_of(answer)})
    return made
