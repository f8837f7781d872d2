import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel, ParrotFakeChatModel
from langchain_core.messages import AIMessage

from rag_ft.errors import MissingExtraError, UsageError
from rag_ft.models import chat
from rag_ft.models.chat import chat_model_name, chosen_chat_model, imported_function, invoke_together, reply_text


def parrot():
    return ParrotFakeChatModel()


def text():
    return "text"


def fails():
    raise RuntimeError("no key")


@pytest.fixture
def module(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "my_models", sys.modules[__name__])
    return "my_models"


def test_a_function_that_returns_a_chat_model_is_called(module):
    assert isinstance(chosen_chat_model(f"{module}:parrot"), ParrotFakeChatModel)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gpt", "has no server: give its URL"),
        ("my_models:text", "returned str and not a chat model"),
        ("my_models:fails", r"cannot be made \(no key\)"),
        ("my_models:none", "cannot be imported"),
        ("my_models:pytest", "is not a function"),
        ("no_such_module:f", "cannot be imported"),
    ],
)
def test_what_is_no_chat_model_is_one_sentence(module, model, message):
    with pytest.raises(UsageError, match=message):
        chosen_chat_model(model)


def test_a_server_gets_the_key_of_the_variable_and_no_other(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    made = chosen_chat_model("m", "http://127.0.0.1:1/v1", "MY_KEY")
    assert chat_model_name(made) == "m" and made.openai_api_key.get_secret_value() == "secret"
    assert chosen_chat_model("m", "http://127.0.0.1:1/v1", "OTHER").openai_api_key.get_secret_value() == "none"


def test_a_server_needs_the_extra(monkeypatch):
    def missing(extra, work):
        raise MissingExtraError(work, extra)

    monkeypatch.setattr(chat, "require_extra", missing)
    with pytest.raises(MissingExtraError, match="a chat model of a server needs the extra 'chat'"):
        chosen_chat_model("m", "http://127.0.0.1:1/v1")


def test_replies_come_in_order_and_errors_in_their_place():
    model = FakeListChatModel(responses=["a", "b"])
    replies = invoke_together(model, [[("user", "1")], [("user", "2")]], attempts=1, at_once=1)
    assert [reply_text(reply) for reply, _ in replies] == ["a", "b"]
    broken = imported_function("builtins:iter", "x", UsageError)
    assert broken is iter


def test_a_fence_around_a_reply_is_taken_off():
    assert reply_text(AIMessage('```json\n{"a": 1}\n```')) == '{"a": 1}'
    assert reply_text(AIMessage("plain")) == "plain"
