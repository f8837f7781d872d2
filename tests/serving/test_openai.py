"""The OpenAI-compatible endpoint, asked by the official client and by langchain's."""

import json
import time

import pytest
from openai import BadRequestError, NotFoundError, OpenAI, UnprocessableEntityError
from pydantic import BaseModel, ConfigDict
from tiny_reader import passage

from rag_ft.answering import completion
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.prompt import chat_messages
from rag_ft.answering.reading import ReadRequest
from rag_ft.answering.remote import RemoteReader
from rag_ft.errors import ReaderError, ReaderUnreachableError, UsageError
from rag_ft.schema import Answer
from rag_ft.serving.openai import NO_ANSWER, ChatRequest, ResponseFormat, content_of

TEXT = "The tower of Oslo is 107 metres high. It was built in 1903."
QUESTION = "How high is the tower of Oslo?"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]


class Quote(BaseModel):
    model_config = ConfigDict(extra="forbid")

    quote: str
    document_id: str


class Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")

    answer: str | None
    confidence: float
    citations: list[Quote]


@pytest.fixture
def http(serve):
    return serve()


@pytest.fixture
def client(http):
    with OpenAI(base_url=f"{http.base_url}/v1", api_key="unused", max_retries=0) as openai_client:
        yield openai_client


def plain(http) -> dict:
    return http.post("/v1/ask", json={"question": QUESTION}).json()


def test_a_completion_is_the_answer_with_its_citations_beside_it(client, http):
    completion = client.chat.completions.create(
        model="rag-ft", messages=MESSAGES, temperature=0.2, seed=1, max_tokens=50
    )
    expected = plain(http)
    message = completion.choices[0].message
    assert message.content == expected["answer"] and completion.choices[0].finish_reason == "stop"
    assert message.model_extra["rag_ft"]["citations"] == expected["citations"]
    assert completion.usage.prompt_tokens == expected["usage"]["prompt_tokens"]
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


def test_a_stream_adds_up_to_the_same(client, http):
    pieces = list(
        client.chat.completions.create(
            model="rag-ft", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    content = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert content == plain(http)["answer"]
    assert [piece.choices[0].finish_reason for piece in pieces if piece.choices][-1] == "stop"
    assert pieces[-1].usage.total_tokens > 0


def test_earlier_user_messages_are_what_the_last_one_follows_up(client, http):
    follow_up = {"role": "user", "content": "And who built it?"}
    turns = [*MESSAGES, {"role": "assistant", "content": "90 metres."}, {"role": "user", "content": ""}, follow_up]
    completion = client.chat.completions.create(model="rag-ft", messages=turns)
    answer = completion.choices[0].message.model_extra["rag_ft"]
    expected = http.post("/v1/ask", json={"question": "And who built it?", "history": [QUESTION]}).json()
    assert (answer["question"], answer["history"]) == ("And who built it?", [QUESTION])
    assert answer["searched"] == expected["searched"] and answer["answer"] == expected["answer"]


def test_a_schema_gets_the_part_of_the_answer_that_it_names(client, http):
    completion = client.chat.completions.parse(model="rag-ft", messages=MESSAGES, response_format=Reply)
    expected = plain(http)
    parsed = completion.choices[0].message.parsed
    assert (parsed.answer, parsed.confidence) == (expected["answer"], expected["confidence"])
    assert [citation.quote for citation in parsed.citations] == [
        citation["quote"] for citation in expected["citations"]
    ]
    assert set(json.loads(completion.choices[0].message.content)) == {"answer", "confidence", "citations"}


def test_a_schema_that_an_answer_cannot_follow_is_an_error_that_says_where(client):
    class Poem(BaseModel):
        verses: list[str]

    with pytest.raises(UnprocessableEntityError, match="'verses' is a required property"):
        client.chat.completions.parse(model="rag-ft", messages=MESSAGES, response_format=Poem)


def test_json_object_is_the_whole_answer(client):
    completion = client.chat.completions.create(
        model="rag-ft", messages=MESSAGES, response_format={"type": "json_object"}
    )
    assert {"answer", "citations", "provenance"} <= set(json.loads(completion.choices[0].message.content))


def test_models_are_the_adapters(client):
    assert [model.id for model in client.models.list()] == ["rag-ft", "none"]
    assert client.chat.completions.create(model="none", messages=MESSAGES).model == "none"
    with pytest.raises(NotFoundError, match="no model 'gpt-5'"):
        client.chat.completions.create(model="gpt-5", messages=MESSAGES)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"functions": [{"name": "f", "parameters": {}}]},
        {"tool_choice": "required"},
        {"logprobs": True},
        {"messages": [{"role": "system", "content": "no question"}]},
        {"messages": [{"role": "user", "content": "  "}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://x/y"}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/"}}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"properties": {"answer": {"pattern": "(a+)+$"}}}},
            }
        },
    ],
)
def test_what_cannot_be_given_is_an_error_and_not_ignored(client, fields):
    with pytest.raises((BadRequestError, UnprocessableEntityError)):
        client.chat.completions.create(**{"model": "rag-ft", "messages": MESSAGES, **fields})


def _nested(levels):
    return {"items": _nested(levels - 1)} if levels else {"type": "string"}


def _doubling(levels, more=None):
    """Three kilobytes that ask for 2^levels checks."""
    names = [f"a{i}" for i in range(levels)]
    twice = {
        name: {**(more or {}), "allOf": [{"$ref": f"#/$defs/{after}"}] * 2}
        for name, after in zip(names, [*names[1:], "end"], strict=True)
    }
    return {"allOf": [{"$ref": "#/$defs/a0"}], "$defs": {**twice, "end": {}}}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (_doubling(30), "more than 2,000 references"),
        ({**_doubling(30), "anyOf": [{"$ref": "#/$defs/a0"}]}, "more than 2,000 references"),
        (_doubling(30, {"$schema": "https://json-schema.org/draft/2020-12/schema"}), "a .schema inside"),
        ({**_doubling(30), "unevaluatedProperties": False}, "unevaluatedProperties, which is not supported"),
        ({"$dynamicRef": "#/$defs/a"}, "dynamicRef, which is not supported"),
        (_nested(300), "nested too deeply"),
    ],
)
def test_a_schema_that_would_take_for_ever_is_refused_and_the_server_goes_on(client, http, schema, message):
    begin = time.monotonic()
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises((BadRequestError, UnprocessableEntityError), match=message):
        client.chat.completions.create(model="rag-ft", messages=MESSAGES, response_format=wanted)
    assert time.monotonic() - begin < 20
    assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "target",
    [5, None, [1], {"type": "nonsense"}, {"anyOf": 5}, {"minimum": "a"}, {"required": 5}, {"$ref": 5}],
    ids=str,
)
@pytest.mark.parametrize("reference", ["#/x", "#/$defs/x", "#/definitions/x", "#/properties/answer/x", "#/anyOf/z"])
def test_a_reference_to_what_is_no_schema_is_refused_before_the_question_is_asked(target, reference):
    schema = {
        "x": target,
        "$defs": {"x": target},
        "definitions": {"x": target},
        "properties": {"answer": {"$ref": reference, "x": target}},
        "anyOf": [{}],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(UsageError, match="response_format's schema"):
        ChatRequest(messages=MESSAGES, response_format=wanted).check()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"anyOf": [{}] * 4000}, "more than 1,000 parts"),
        ({"properties": {"confidence": {"multipleOf": float("nan")}}}, "not a JSON number"),
    ],
)
def test_a_schema_that_is_too_large_or_no_json_is_refused_at_once(schema, message):
    begin = time.monotonic()
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(UsageError, match=message):
        ChatRequest(messages=MESSAGES, response_format=wanted).check()
    assert time.monotonic() - begin < 20


def test_the_answers_own_schema_is_one_that_may_be_asked_for(client):
    completion = client.chat.completions.parse(model="rag-ft", messages=MESSAGES, response_format=Answer)
    assert completion.choices[0].message.parsed == Answer.model_validate_json(completion.choices[0].message.content)


def test_definitions_by_their_old_name_are_followed(client):
    schema = {
        "type": "object",
        "properties": {"answer": {"anyOf": [{"$ref": "#/definitions/words"}, {"type": "null"}]}},
        "definitions": {"words": {"type": "string"}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    completion = client.chat.completions.create(model="rag-ft", messages=MESSAGES, response_format=wanted)
    assert json.loads(completion.choices[0].message.content).keys() == {"answer"}


def test_what_the_clients_types_allow_is_taken(client):
    completion = client.chat.completions.create(model="rag-ft", messages=MESSAGES, stream=None, tool_choice="none")
    assert completion.choices[0].message.content
    assert client.models.retrieve("none").id == "none"
    with pytest.raises(NotFoundError, match="no model 'gpt-5'"):
        client.models.retrieve("gpt-5")


def test_a_picture_is_named_as_what_is_not_read(client):
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    with pytest.raises(UnprocessableEntityError, match="is 'image_url': send only text parts"):
        client.chat.completions.create(model="rag-ft", messages=[{"role": "user", "content": parts}])


def test_a_schema_whose_definitions_are_used_many_times_is_followed(client):
    schema = {"type": "object", "properties": {"answer": {"$ref": "#/$defs/a0"}}, "$defs": _doubling(6)["$defs"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = client.chat.completions.create(model="rag-ft", messages=MESSAGES, response_format=wanted)
    assert json.loads(reply.choices[0].message.content).keys() == {"answer"}


def test_a_conversation_asks_its_last_user_message_and_reads_parts():
    request = ChatRequest.model_validate(
        {
            "messages": [
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": [{"type": "text", "text": "second"}]},
            ]
        }
    )
    assert request.question == "second"
    with pytest.raises(UsageError, match="no field json_schema"):
        ChatRequest(messages=request.messages, response_format=ResponseFormat(type="json_schema")).check()


def test_no_answer_is_said_in_words_or_is_null_in_json(http):
    from rag_ft.schema import Answer

    none = Answer.model_validate(http.post("/v1/ask", json={"question": QUESTION, "threshold": 1}).json())
    assert content_of(none, None) == NO_ANSWER
    wanted = ResponseFormat.model_validate(
        {"type": "json_schema", "json_schema": {"name": "reply", "schema": Reply.model_json_schema()}}
    )
    assert json.loads(content_of(none, wanted))["answer"] is None


def test_langchains_client_gets_text_and_structure(http):
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model="rag-ft", base_url=f"{http.base_url}/v1", api_key="unused", max_retries=0)
    expected = plain(http)
    assert chat.invoke(QUESTION).content == expected["answer"]
    assert "".join(piece.content for piece in chat.stream(QUESTION)) == expected["answer"]
    reply = chat.with_structured_output(Reply, method="json_schema").invoke(QUESTION)
    assert reply.answer == expected["answer"]


def test_the_readers_own_prompt_is_read_by_this_servers_reader(http, client, tiny_reader):
    """Another process retrieves, this server reads: answers and citations are those of its reader."""
    passages = tuple(passage(text, name) for name, text in (("a", TEXT), ("b", "Moss grows slowly. It needs shade.")))
    reader = RemoteReader.from_server(f"{http.base_url}/v1", "rag-ft")
    questions = ["How high is the tower?", "What grows?", "Who?"]
    requests = [ReadRequest(question, passages) for question in questions]
    for remote, local in zip(reader.read_batch(requests), tiny_reader.read_batch(requests), strict=True):
        assert remote.complete and remote.answer == local.answer
        assert [cited.passage for cited in remote.cited] == [cited.passage for cited in local.cited]
        assert remote.completion == completion.render(local.answer, (passages.index(local.cited[0].passage) + 1,))
        assert remote.prompt_tokens == local.prompt_tokens
        assert remote.confidence == 0.5
    messages = [{"role": role, "content": text} for role, text in chat_messages(questions[0], passages)]
    plainly = client.chat.completions.create(model="rag-ft", messages=messages)
    assert plainly.choices[0].message.content == reader.read_batch(requests)[0].completion


def test_a_pipeline_here_with_the_reader_there_cites_its_own_documents(http, index):
    reader = RemoteReader.from_server(f"{http.base_url}/v1", "rag-ft")
    answer = Pipeline(index.as_retriever(k=2), reader).ask(QUESTION)
    assert answer.citations[0].verdict == "supported"
    text = index.document(answer.citations[0].document_id).text
    assert text[answer.citations[0].answer_start : answer.citations[0].answer_end] == answer.answer


def test_too_many_passages_and_a_model_that_is_not_there_are_refused(http, client):
    many = [passage(f"Line {i}.", str(i)) for i in range(21)]
    reader = RemoteReader.from_server(f"{http.base_url}/v1", "rag-ft")
    with pytest.raises(ReaderError, match="k is 21, more than the 20 allowed"):
        reader.read_batch([ReadRequest("Who?", tuple(many))])
    with pytest.raises(ReaderUnreachableError, match="does not know the model 'none-such'"):
        reader.with_adapter("none-such").read_batch([ReadRequest("Who?", tuple(many[:2]))])
    with pytest.raises(UsageError, match=r"has \d models \(rag-ft"):
        RemoteReader.from_server(f"{http.base_url}/v1")
