"""A reader at a server that says what the test tells it to; at this project's own server in serving/test_openai.py."""

import json
import time

import pytest
from chat_server import ChatServer
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from tiny_reader import PASSAGES

from rag_ft.answering import completion
from rag_ft.answering.bulk.run import answer_questions
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.prompt import SYSTEM, chat_messages
from rag_ft.answering.reading import ReadRequest
from rag_ft.answering.remote import RemoteReader, is_server
from rag_ft.errors import ReaderError, ReaderUnreachableError, UsageError
from rag_ft.schema import Hit

REQUEST = ReadRequest("What jumps?", PASSAGES)
HITS = [Hit(passage=passage, score=1 / rank, rank=rank) for rank, passage in enumerate(PASSAGES, start=1)]


def said(answer, *citations):
    return json.dumps({"answer": answer, "citations": citations})


def read(reply, **options):
    with ChatServer([reply]) as server:
        return RemoteReader.from_server(server.url, "m", attempts=1, **options).read_batch([REQUEST])[0]


def test_the_server_gets_the_readers_prompt_and_the_schema_of_the_completion():
    with ChatServer([said("brown fox", 1)]) as server:
        RemoteReader.from_server(server.url, "m").read_batch([REQUEST])
    (body,) = server.requests
    assert [(turn["role"], turn["content"]) for turn in body["messages"]] == chat_messages("What jumps?", PASSAGES)
    assert body["messages"][0]["content"] == SYSTEM and body["temperature"] == 0 and body["model"] == "m"
    assert body["response_format"]["json_schema"]["schema"] == completion.SCHEMA
    assert body["response_format"]["json_schema"]["strict"] is True


def test_an_answer_is_the_passages_own_words_with_their_place():
    reading = read(said("QUICK  brown\nfox", 1))
    assert (reading.answer, reading.complete, reading.abstained) == ("quick brown fox", True, False)
    (cited,) = reading.cited
    assert cited.passage is PASSAGES[0] and cited.text == "quick brown fox"
    assert reading.confidence == reading.answer_confidence == reading.not_null == 0.5
    assert (reading.prompt_tokens, reading.completion_tokens, reading.read) == (70, 9, (True, True, True))


def test_a_citation_that_does_not_hold_the_words_is_dropped_from_a_quote():
    (cited,) = read(said("quick brown fox", 2, 3)).cited
    assert cited.passage is PASSAGES[2]


@pytest.mark.parametrize(
    "reply",
    [
        said("a fast fox", 1),
        said("quick brown fox", 2),
        said("quick brown fox", 4),
        said("quick brown fox"),
        said("", 1),
        '{"answer": "quick brown fox", "citations": [1',
        "The fox.",
        "",
    ],
)
def test_what_is_no_quote_of_a_cited_passage_is_no_answer(reply):
    reading = read(reply)
    assert (reading.answer, reading.complete, reading.abstained, reading.cited) == (None, False, False, ())
    assert reading.completion == reply


def test_in_mode_schema_any_words_pass_and_the_verdict_says_what_they_are():
    for reply, verdict in ((said("a fast fox", 1), "unfounded"), (said("quick brown fox", 2), "misattributed")):
        with ChatServer([reply]) as server:
            reader = RemoteReader.from_server(server.url, "m", mode="schema")
            (answer,) = Pipeline(None, reader).read_batch(["What jumps?"], [HITS])
        assert answer.answer == json.loads(reply)["answer"] and answer.citations[0].verdict == verdict
        assert (answer.provenance.mode, answer.provenance.reading, answer.confidence) == ("schema", "joint", 0.5)


def test_null_is_an_answer_and_without_passages_nobody_is_asked():
    reading = read(said(None))
    assert (reading.answer, reading.abstained, reading.complete, reading.confidence) == (None, True, True, 0.5)
    with ChatServer([said("x", 1)]) as server:
        (reading,) = RemoteReader.from_server(server.url, "m").read_batch([ReadRequest("What?", ())])
    assert reading.abstained and not server.requests


def test_a_pipeline_cites_and_verifies_what_the_server_says(world):
    index, _ = world
    with ChatServer([said("the", 1)]) as server:
        reader = RemoteReader.from_server(server.url, "m")
        pipeline = Pipeline(index.as_retriever(k=2), reader)
        first = pipeline.retriever.retrieve("What is the rule?")[0].passage
        words = " ".join(first.text.split()[:3])
        server.answers[:] = [said(words.upper(), 1)]
        answer = pipeline.ask("What is the rule?")
        events = list(pipeline.events("What is the rule?"))
        (other,) = pipeline.ask_batch(["What is the rule?"], adapter="tuned")
    assert answer.answer == words and answer.citations[0].verdict == "supported"
    text = index.document(answer.citations[0].document_id).text
    assert text[answer.citations[0].answer_start : answer.citations[0].answer_end] == words
    assert events[-1].answer.answer == words and other.answer == words
    assert [body["model"] for body in server.requests] == ["m", "m", "tuned"]
    assert answer.provenance.base_model != other.provenance.base_model


def test_a_threshold_is_refused_since_no_confidence_is_known(world):
    with ChatServer([said(None)]) as server:
        reader = RemoteReader.from_server(server.url, "m")
        assert reader.threshold is None
        with pytest.raises(UsageError, match="does not know how sure it is, so it has no threshold"):
            Pipeline(world[0].as_retriever(), reader).ask("What?", threshold=0.5)


def test_a_server_in_trouble_is_asked_again_and_one_that_refuses_is_not():
    with ChatServer([(503, "busy"), said("quick brown fox", 1)]) as server:
        (reading,) = RemoteReader.from_server(server.url, "m", attempts=2).read_batch([REQUEST])
    assert reading.answer == "quick brown fox" and len(server.requests) == 2
    wrong = {
        400: (ReaderError, r"refuses the question \(.*no room"),
        401: (ReaderUnreachableError, r"refuses the key \(401\): set OPENAI_API_KEY"),
        404: (ReaderUnreachableError, "does not know the model 'm'"),
    }
    for status, (kind, message) in wrong.items():
        with ChatServer([(status, "no room")]) as server, pytest.raises(kind, match=message):
            RemoteReader.from_server(server.url, "m", attempts=3).read_batch([REQUEST])
        assert len(server.requests) == 1


def test_a_reply_that_was_cut_or_filtered_is_not_asked_for_again():
    with ChatServer([("length", '{"answer": "qui')]) as server:
        (reading,) = RemoteReader.from_server(server.url, "m").read_batch([REQUEST])
        assert not reading.complete and reading.answer is None and len(server.requests) == 1
        server.answers[:] = [("content_filter", "")]
        with pytest.raises(ReaderError, match="refuses the question") as raised:
            RemoteReader.from_server(server.url, "m").read_batch([REQUEST])
        assert not isinstance(raised.value, ReaderUnreachableError) and len(server.requests) == 2


def test_no_server_at_the_address_is_one_sentence(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    started = time.monotonic()
    with pytest.raises(ReaderUnreachableError, match=r"the server at http://127\.0\.0\.1:1/v1 gave no reply") as error:
        RemoteReader.from_server("http://127.0.0.1:1/v1", "m", attempts=1).read_batch([REQUEST])
    assert "secret" not in str(error.value)
    with pytest.raises(ReaderUnreachableError, match=r"the server at http://127\.0\.0\.1:1/v1 gave no reply"):
        RemoteReader.from_server("http://127.0.0.1:1/v1")
    assert time.monotonic() - started < 10


def test_the_only_model_of_a_server_needs_no_name():
    with ChatServer([said(None)]) as server:
        assert RemoteReader.from_server(server.url).name == f"m at {server.url}"
        server.models.append("n")
        with pytest.raises(UsageError, match=r"has 2 models \(m, n\): name one \(--model\)"):
            RemoteReader.from_server(server.url)
        server.models.clear()
        with pytest.raises(UsageError, match=r"lists no model: name one \(--model\)"):
            RemoteReader.from_server(server.url)


def test_any_chat_model_of_langchain_can_read():
    reader = RemoteReader(FakeListChatModel(responses=[f"```json\n{said('brown fox', 1)}\n```"]))
    assert reader.read_batch([REQUEST])[0].answer == "brown fox"
    with pytest.raises(UsageError, match="has no other models"):
        reader.with_adapter("n")
    with pytest.raises(UsageError, match="a remote reader has only the modes quote and schema"):
        RemoteReader(FakeListChatModel(responses=[""]), mode="free")


def test_a_bulk_run_ends_where_the_server_goes_and_resumes_where_it_is_back(world, tmp_path):
    questions = tmp_path / "questions.txt"
    questions.write_text("".join(f"What is rule {i}?\n" for i in range(6)))
    with ChatServer([said(None)] * 3 + [(500, "down")]) as server:
        reader = RemoteReader.from_server(server.url, "m", attempts=1, at_once=1)
        pipeline = Pipeline(world[0].as_retriever(), reader)
        with pytest.raises(ReaderUnreachableError):
            answer_questions(questions, tmp_path / "answers.jsonl", pipeline, block=2)
        server.answers[:] = [(400, "the prompt is too long")]
        report = answer_questions(questions, tmp_path / "answers.jsonl", pipeline, block=2)
    assert (report.done_before, report.declined, report.failed) == (2, 2, 4)
    assert "refuses the question" in json.loads((tmp_path / "answers.jsonl").read_text().splitlines()[-1])["error"]


def test_what_is_the_address_of_a_server():
    assert is_server("http://127.0.0.1:8000/v1") and is_server("HTTPS://host/v1")
    assert not is_server("default") and not is_server("httpx") and not is_server("/models/http")
