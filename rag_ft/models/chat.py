"""Chat models behind langchain-core's interface: one at an OpenAI-compatible server, or whatever a function returns.

`TokenPrice` says what one costs that is paid by the token.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rag_ft.errors import RagFtError, UsageError, first_line
from rag_ft.extras import require_extra

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable

KEY_VARIABLE = "OPENAI_API_KEY"
FACTORY = re.compile(r"[\w.]+:\w+")
"""`module:name` of a function."""
TIMEOUT_S = 60.0
CURRENCY = "USD"
"""Currency of prices, if none is given."""

_FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


class TokenPrice(BaseModel):
    """Prices of a model that is paid by the token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_million: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Price per million prompt tokens."""
    completion_million: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Price per million completion tokens."""

    def of_tokens(self, prompt: float, completion: float) -> float:
        """Price of these numbers of tokens."""
        return (prompt * self.prompt_million + completion * self.completion_million) / 1e6


def server_chat_model(
    model: str, url: str, *, key_variable: str = KEY_VARIABLE, timeout_s: float = TIMEOUT_S, work: str = "a chat model"
) -> BaseChatModel:
    """A model of an OpenAI-compatible server, greedy and without retries of its own, which the caller has.

    `key_variable`: the environment variable that holds the key. Raises MissingExtraError, naming the `work`.
    """
    require_extra("chat", work)
    from langchain_openai import ChatOpenAI

    chat: BaseChatModel = ChatOpenAI(
        model=model,
        base_url=url,
        api_key=os.environ.get(key_variable) or "none",
        temperature=0,
        timeout=timeout_s,
        max_retries=0,
    )
    return chat


def chosen_chat_model(model: str, url: str | None = None, key_variable: str = KEY_VARIABLE) -> BaseChatModel:
    """The chat model that a person names: one of the server at `url`, or `module:function` that returns one.

    Raises UsageError, MissingExtraError.
    """
    if url:
        return server_chat_model(model, url, key_variable=key_variable, work="a chat model of a server")
    if not FACTORY.fullmatch(model):
        raise UsageError(
            f"the model {model!r} has no server: give its URL, or name a function that returns a chat model as"
            " module:function"
        )
    from langchain_core.language_models import BaseChatModel

    try:
        made = imported_function(model, "the model", UsageError)()
    except UsageError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise UsageError(f"the model {model} cannot be made ({first_line(error)}): check what it needs") from error
    if not isinstance(made, BaseChatModel):
        raise UsageError(f"{model} returned {type(made).__name__} and not a chat model of langchain-core: return one")
    return made


def imported_function(path: str, what: str, error: type[RagFtError]) -> Callable[..., Any]:
    """The function that `module:name` names. Raises `error`, whose sentence begins with `what` it is for."""
    module, _, name = path.partition(":")
    try:
        function = getattr(import_module(module), name)
    except Exception as reason:  # importing a user's module may raise anything
        raise error(f"{what}: {path} cannot be imported ({first_line(reason)}): check module and name") from reason
    if not callable(function):
        raise error(f"{what}: {path} is not a function: name one as module:function")
    return function  # type: ignore[no-any-return]


def chat_model_name(model: BaseChatModel) -> str:
    """The name under which a server knows the model; empty for a model without one."""
    return next((str(getattr(model, key)) for key in ("model_name", "model") if hasattr(model, key)), "")


def reply_text(reply: BaseMessage) -> str:
    """The text of a reply, without a code fence around it."""
    text = reply.content if isinstance(reply.content, str) else str(reply.content)
    fenced = _FENCE.match(text)
    return fenced[1] if fenced else text


def server_models(url: str, key_variable: str = KEY_VARIABLE, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Names of the models of an OpenAI-compatible server. Raises MissingExtraError, and what its client raises."""
    client: Any = server_chat_model("any", url, key_variable=key_variable, timeout_s=timeout_s)
    return [str(model.id) for model in client.root_client.models.list().data]


def status_of(error: BaseException) -> int | None:
    """The HTTP status with which a server refused; None where it gave no reply."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


CUT = "LengthFinishReasonError"
"""Name of the error of OpenAI's client for a reply that was cut at its limit."""
FILTERED = "ContentFilterFinishReasonError"
"""Name of its error for a reply that the server's filter has stopped."""


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later: no reply, too many calls, a fault of the server."""
    if type(error).__name__ in (CUT, FILTERED):  # the same call gives the same reply
        return False
    status = status_of(error)
    return status is None or status in (408, 409, 425, 429) or status >= 500


def invoke_together(
    model: Runnable[Any, BaseMessage], conversations: list[list[tuple[str, str]]], *, attempts: int, at_once: int
) -> list[tuple[BaseMessage | Exception, float]]:
    """Each conversation's reply, or the error after all attempts, with the seconds of the call, pauses included.

    `at_once` calls at a time; a call that fails is repeated after growing pauses, unless the server has refused it.
    """
    from langchain_core.runnables import RunnableLambda

    def once(messages: list[tuple[str, str]]) -> BaseMessage | Exception:
        try:
            return model.invoke(messages)
        except Exception as error:
            if may_pass(error):
                raise
            return error

    patient = RunnableLambda(once).with_retry(stop_after_attempt=attempts, wait_exponential_jitter=True)

    def call(messages: list[tuple[str, str]]) -> tuple[BaseMessage | Exception, float]:
        start = time.perf_counter()
        try:
            return patient.invoke(messages), time.perf_counter() - start
        except Exception as error:  # a server may fail in any way
            return error, time.perf_counter() - start

    return RunnableLambda(call).batch(conversations, config={"max_concurrency": at_once})
