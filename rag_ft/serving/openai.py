"""OpenAI's chat completions in terms of questions and answers: what clients send, and what they get.

The last user message is the question, those before it are its history, and `model` names an adapter. The reader quotes,
so settings of free generation (temperature, seed, a token limit) are accepted and change nothing; asking for something
that cannot be given (several choices, tools, log-probabilities) is an error.

A request with the reader's own prompt (`rag_ft.answering.prompt.chat_messages`) brings its passages: they are read
instead of the documents, and the content is the completion, as from any model that follows that prompt.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from pydantic import BaseModel, ConfigDict, Field, field_validator
from referencing.exceptions import Unresolvable

from rag_ft.answering import completion
from rag_ft.answering.prompt import SYSTEM, read_user_turn
from rag_ft.errors import UsageError, first_line
from rag_ft.schema import Answer, Passage

DEFAULT_MODEL = "rag-ft"
"""Name for the adapter that the server started with."""

NO_ANSWER = "The documents do not answer this question."


class TextPart(BaseModel):
    """A text part of a message."""

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
        unsupported = [kind for kind in kinds if kind != "text"]
        if unsupported:
            raise ValueError(f"a part of the message is {str(unsupported[0])[:40]!r}: send only text parts")
        return content

    @property
    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class JsonSchemaFormat(BaseModel):
    """A schema that the content must follow."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = "answer"
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = Field(default_factory=dict)
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """Format of the content: plain text, the answer's JSON, or the part of it that a schema names."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchemaFormat | None = None


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool | None = False


class ReaderPrompt(NamedTuple):
    """What a reader elsewhere asks of this server's reader."""

    question: str
    passages: tuple[Passage, ...]


class ChatRequest(BaseModel):
    """A chat completion to create. Unknown fields are accepted: clients send what other servers need."""

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
        *_, last = ["", *self._user_texts]
        if not last:
            raise UsageError("there is no question: the last message with the role 'user' is missing or empty")
        return last

    @property
    def history(self) -> tuple[str, ...]:
        """The user messages before the last one, oldest first, without empty ones."""
        return tuple(text for text in self._user_texts[:-1] if text)

    @property
    def prompt(self) -> ReaderPrompt | None:
        """Question and passages of a reader's prompt; None for any other conversation."""
        first, *_, last = [self.messages[0], *self.messages]
        if first.role != "system" or first.text != SYSTEM or last.role != "user":
            return None
        turn = read_user_turn(last.text)
        return None if turn is None else ReaderPrompt(turn[0], tuple(turn[1]))

    @property
    def _user_texts(self) -> list[str]:
        return [message.text.strip() for message in self.messages if message.role == "user"]

    def check(self) -> None:
        """Raise UsageError if the request asks for something that cannot be given."""
        if self.n not in (None, 1):
            raise UsageError(f"n is {self.n}: a question gets one answer, so leave n out or send 1")
        if self.tools or self.functions or self.tool_choice not in (None, "none", "auto"):
            raise UsageError("tools and functions are not supported: leave them out")
        if self.logprobs:
            raise UsageError(
                "log-probabilities are not supported: use the answer's confidence, in choices[0].message.rag_ft"
            )
        if self.response_format is not None and self.response_format.type == "json_schema":
            if self.response_format.json_schema is None:
                raise UsageError("response_format has the type json_schema but no field json_schema: add it")
            schema = self.response_format.json_schema.schema_
            _check_schema_is_safe(schema)  # first, because checking a large schema takes a while
            try:
                Draft202012Validator.check_schema(schema)
            except RecursionError as error:
                raise UsageError("response_format's schema is nested too deeply: make it flatter") from error
            except SchemaError as error:
                raise UsageError(
                    f"response_format's schema is not a JSON schema ({error.message[:120]}): correct it"
                ) from error


_NOT_CHECKED = ("patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef")

MOST_PARTS = 1_000
"""Maximum objects and lists in a schema: checking takes half a millisecond each, and the schema of Answer has 300."""

MOST_REFERENCES = 2_000
"""Maximum references to follow for one answer: in a schema of 3 kB, definitions that each refer to another one twice
lead to a billion."""


class _References:
    """Counts the references followed for one answer."""

    def __init__(self) -> None:
        self._left = MOST_REFERENCES

        def follow_reference(validator: Any, target: Any, instance: Any, schema: Any) -> Iterator[Any]:
            self.follow()
            yield from Draft202012Validator.VALIDATORS["$ref"](validator, target, instance, schema) or ()

        self.validator: Any = extend(Draft202012Validator, {"$ref": follow_reference})  # type: ignore[no-untyped-call]
        """Validator class that counts references."""

    def follow(self) -> None:
        """Count one reference. Raises UsageError beyond the maximum."""
        self._left -= 1
        if self._left < 0:
            raise UsageError(
                f"response_format's schema needs more than {MOST_REFERENCES:,} references to check one answer: simplify"
                " it"
            )


def _check_schema_is_safe(schema: Any) -> None:
    """Raise UsageError for a schema that could fetch something, run for ever, evade the count of references, or that
    refers to something other than a schema.
    """
    waiting, parts = [schema], 0
    while waiting:
        node = waiting.pop()
        parts += isinstance(node, list | dict)
        if parts > MOST_PARTS:
            raise UsageError(f"response_format's schema has more than {MOST_PARTS:,} parts: simplify it")
        if isinstance(node, float) and not math.isfinite(node):
            raise UsageError(f"response_format's schema holds {node}, which is not a JSON number: leave it out")
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            target = node.get("$ref")
            if isinstance(target, str) and _definition(schema, target) is None:
                raise UsageError(
                    f"response_format's schema refers to {target[:80]!r}: refer only to schemas in its own $defs"
                )
            if isinstance(node.get("pattern"), str):
                raise UsageError("response_format's schema has a pattern, which is not supported: leave it out")
            for name in _NOT_CHECKED:
                if name in node:
                    raise UsageError(f"response_format's schema has {name}, which is not supported: leave it out")
            if isinstance(node.get("$schema"), str) and node is not schema:
                raise UsageError("response_format's schema names a $schema inside: name it only at the top")
            waiting.extend(node.values())


def _definition(schema: dict[str, Any], reference: str) -> Any:
    """The schema that a reference names, among those that the schema's own check covers; None if there is none."""
    key, _, name = reference.removeprefix("#/").partition("/")
    definitions = schema.get(key) if key in _DEFINITIONS and reference.startswith("#/") else None
    definition = definitions.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(definitions, dict) else None
    return definition if isinstance(definition, dict | bool) else None


_DEFINITIONS = ("$defs", "definitions")


def content_of(answer: Answer, response_format: ResponseFormat | None) -> str:
    """The message's content in the format asked for. Raises UsageError where the answer cannot follow the schema."""
    if response_format is None or response_format.type == "text":
        return answer.answer if answer.answer is not None else NO_ANSWER
    whole = answer.model_dump(mode="json")
    if response_format.type == "json_object" or response_format.json_schema is None:
        return json.dumps(whole, ensure_ascii=False)
    return _following(whole, response_format.json_schema)


def completion_content(answer: Answer, response_format: ResponseFormat | None) -> str:
    """The content for a reader's prompt: the completion. Raises UsageError where it cannot follow the schema."""
    ids = [retrieved.passage.id for retrieved in answer.passages]
    numbers = tuple(ids.index(citation.passage_id) + 1 for citation in answer.citations)
    text = completion.render(answer.answer, numbers)
    if response_format is None or response_format.json_schema is None:
        return text
    return _following(json.loads(text), response_format.json_schema)


def _following(whole: dict[str, Any], wanted: JsonSchemaFormat) -> str:
    """The part of an object that a schema names. Raises UsageError where that does not follow it."""
    schema = wanted.schema_
    references = _References()
    try:
        part = _project(whole, schema, schema, references)
        references.validator(schema).validate(part)
    except (RecursionError, Unresolvable) as error:
        raise UsageError("response_format's schema has a dangling or circular $ref: correct it") from error
    except ValidationError as error:
        where = ".".join(str(step) for step in error.absolute_path) or "the answer"
        raise UsageError(
            f"an answer cannot follow the schema {wanted.name!r}: {where}: {error.message[:200]};"
            " take fields and types from docs/answer.schema.json"
        ) from error
    except UsageError:
        raise
    except Exception as error:  # whatever else a validator fails on is the schema's fault too
        raise UsageError(f"response_format's schema cannot be checked ({first_line(error)}): simplify it") from error
    return json.dumps(part, ensure_ascii=False)


def _project(value: Any, schema: Any, root: dict[str, Any], references: _References, depth: int = 0) -> Any:
    """The part of a value that a schema names: an object's listed properties, and the same within a list's items."""
    if not isinstance(schema, dict) or depth > 20:
        return value
    reference = schema.get("$ref")
    if isinstance(reference, str):
        references.follow()
        return _project(value, _definition(root, reference), root, references, depth + 1)
    for option in schema.get("anyOf") or schema.get("oneOf") or ():
        part = _project(value, option, root, references, depth + 1)
        if isinstance(option, dict):
            validator = references.validator({**option, **{name: root.get(name, {}) for name in _DEFINITIONS}})
            if validator.is_valid(part):
                return part
    properties = schema.get("properties")
    if isinstance(value, dict) and isinstance(properties, dict):
        return {
            name: _project(value[name], property_schema, root, references, depth + 1)
            for name, property_schema in properties.items()
            if name in value
        }
    if isinstance(value, list) and "items" in schema:
        return [_project(item, schema["items"], root, references, depth + 1) for item in value]
    return value


def usage_of(answer: Answer) -> dict[str, int]:
    """Counts of tokens, in OpenAI's form."""
    prompt, completion = answer.usage.prompt_tokens, answer.usage.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion_of(answer: Answer, content: str, *, name: str, model: str, created: int) -> dict[str, Any]:
    """A complete chat completion; the extra field `rag_ft` of its message holds the answer with its citations."""
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
    """A chat completion as the chunks of a stream; the content is one chunk, as the reader finds it all at once."""
    head = {"id": name, "object": "chat.completion.chunk", "created": created, "model": model}

    def chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}

    finish = "stop" if answer.complete else "length"
    chunks = [
        chunk({"role": "assistant", "content": ""}, None),
        chunk({"content": content}, None),
        chunk({"rag_ft": answer.model_dump(mode="json")}, finish),
    ]
    if with_usage:
        chunks.append({**head, "choices": [], "usage": usage_of(answer)})
    return chunks
