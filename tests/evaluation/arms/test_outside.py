import pytest
from chat_server import ChatServer

from rag_ft.errors import EvaluationError, WeightsError
from rag_ft.evaluation.arms.base import Case
from rag_ft.evaluation.arms.build import _chat_model
from rag_ft.evaluation.arms.outside import ChatArm, ExtractiveArm, _best_span
from rag_ft.evaluation.recipe import ChatChoice
from rag_ft.schema import Hit, Passage, Question
from rag_ft.text.spans import Span

TEXT = "The tower of Oslo is 107 metres high. It was built in 1903."
PASSAGE = Passage(id="p", document_id="d", text=TEXT, start=0, end=len(TEXT))
HITS = (Hit(passage=PASSAGE, score=1, rank=1),)
ASKED = [Case(Question(id=f"q{n}", question=f"How high {n}?", answers=("107 metres",)), HITS) for n in range(3)]


def _arm(url, **more):
    choice = ChatChoice(name="large", kind="chat", model="m", url=url, **more)
    return ChatArm("large", _chat_model(choice), attempts=choice.attempts, at_once=1)


GOOD = '{"answer": "107 metres", "citations": [1]}'


def test_a_chat_model_behind_a_fake_server_gets_the_readers_prompt_and_is_cited():
    with ChatServer([GOOD, f"```json\n{GOOD}\n```", '{"answer": null, "citations": []}']) as server:
        predictions = _arm(server.url).reply(ASKED)
    assert [prediction.answer for prediction in predictions] == ["107 metres", "107 metres", None]
    assert predictions[0].citations[0].verdict == "supported" and predictions[0].parses is True
    assert (predictions[0].prompt_tokens, predictions[0].completion_tokens) == (70, 9)
    messages = server.requests[0]["messages"]
    assert messages[0]["content"].startswith("Answer the question from the numbered passages only.")
    assert messages[1]["content"] == f"[1] {TEXT}\n\nQuestion: How high 0?"


def test_a_fake_server_that_limits_its_rate_is_tried_again():
    with ChatServer([(429, "slow down"), GOOD]) as server:
        predictions = _arm(server.url, attempts=3).reply(ASKED[:1])
    assert predictions[0].answer == "107 metres" and len(server.requests) == 2


def test_a_fake_server_that_is_slow_is_given_up_on_tried_again_and_then_a_failure():
    with ChatServer([("slow", ""), GOOD]) as server:
        late = _arm(server.url, attempts=2, timeout_s=0.3).reply(ASKED[:1])
    assert late[0].answer == "107 metres" and len(server.requests) == 2
    with ChatServer([("slow", "")]) as server:
        never = _arm(server.url, attempts=2, timeout_s=0.3).reply(ASKED[:1])
    assert "timed out" in never[0].failed and len(server.requests) == 2
    assert never[0].answer is None and never[0].declined is False


def test_each_reply_of_a_fake_server_has_the_seconds_of_its_own_call():
    with ChatServer([("slow", ""), '{"answer": null, "citations": []}']) as server:
        late, soon = _arm(server.url, attempts=1, timeout_s=0.6).reply([ASKED[0], ASKED[0]])
    assert late.failed and 0.5 < late.seconds < 5 and soon.seconds < late.seconds / 2


def test_pauses_between_attempts_grow(monkeypatch):
    import time

    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with ChatServer([(503, "busy")]) as server:
        predictions = _arm(server.url, attempts=4).reply(ASKED[:1])
    assert "busy" in predictions[0].failed and len(server.requests) == 4
    assert len(pauses) == 3 and pauses[0] < pauses[1] < pauses[2]


def test_garbage_from_a_fake_server_and_a_server_that_is_down_are_failures_with_their_reason():
    with ChatServer(["Well, I think it is 107 metres."]) as server:
        predictions = _arm(server.url).reply(ASKED[:1])
    assert (
        predictions[0].parses is False and not predictions[0].failed and not predictions[0].usable
    )  # wrong, as a reader's is
    down = _arm(server.url, attempts=1).reply(ASKED[:1])
    assert "Connection error" in down[0].failed
    with ChatServer([(500, "on fire")]) as server:
        broken = _arm(server.url, attempts=2).reply(ASKED[:1])
    assert "on fire" in broken[0].failed and len(server.requests) == 2


def test_a_chat_arm_is_a_server_or_a_factory():
    with pytest.raises(ValueError, match="give the url and model of a server, or the factory"):
        ChatChoice(name="a", kind="chat")
    with pytest.raises(EvaluationError, match="cannot be imported"):
        _chat_model(ChatChoice(name="a", kind="chat", factory="no_such_module:make"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A two-layer random BERT with a span head."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = sorted({word.strip(".?").lower() for word in f"{TEXT} How high 0 1 2".split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertForQuestionAnswering(config).eval().save_pretrained(folder)
    return folder


def test_an_encoder_quotes_the_passage_and_null_competes_by_the_threshold(encoder):
    arm = ExtractiveArm.from_pretrained("encoder", str(encoder), threshold=-100.0)
    predictions = arm.reply([*ASKED, Case(ASKED[0].question, ())])
    assert all(
        prediction.answer in TEXT and prediction.citations[0].verdict == "supported" for prediction in predictions[:3]
    )
    assert predictions[3].answer is None and predictions[3].confidence == 0.0
    assert predictions[0] == arm.reply(ASKED[:1])[0].model_copy(update={"seconds": predictions[0].seconds})
    strict = ExtractiveArm.from_pretrained("encoder", str(encoder), threshold=100.0)
    assert [prediction.answer for prediction in strict.reply(ASKED)] == [None] * 3


def test_the_best_span_is_the_one_with_the_highest_sum_against_null():
    """Worked by hand: of spans inside, 2 to 3 has 5 + 4 against null's 1 + 1; 1 to 3 would run backwards in no case."""
    offsets = [[0, 0], [0, 3], [4, 9], [10, 12]]
    assert _best_span([1, 0, 5, 0], [1, 6, 0, 4], [1, 2, 3], offsets) == (7, Span(4, 12))
    assert _best_span([1, 0, 5, 0], [1, 6, 0, 4], [], offsets)[1] is None


def test_what_is_not_an_encoder_is_reported(tiny_llama_dir):
    with pytest.raises(WeightsError):
        ExtractiveArm.from_pretrained("encoder", str(tiny_llama_dir / "missing"))
