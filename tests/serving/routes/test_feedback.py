"""`POST /v1/feedback`: what is kept, of whom, and what is refused."""

import json
import threading
from typing import Any

import httpx
import pytest
from fakes import HashingEmbedder

from rag_ft.indexing.feedback import read_feedback
from rag_ft.indexing.index import Index
from rag_ft.schema import Document
from rag_ft.serving.http.tokens import add_token

QUESTION = "How high is the tower of Oslo?"
TEXT = "The tower of Oslo is 100 metres high. It was built in 1900 by a guild of masons."


def place(quote: str = "100 metres", document: str = "Oslo.txt", text: str = TEXT) -> dict[str, Any]:
    start = text.index(quote)
    return {"document_id": document, "start": start, "end": start + len(quote), "quote": quote}


def say(client: httpx.Client, verdict: str = "right", token: str | None = None, **fields: Any) -> httpx.Response:
    body = {"question": QUESTION, "verdict": verdict, "evidence": place(), **fields}
    return client.post("/v1/feedback", json=body, headers={} if token is None else {"authorization": f"Bearer {token}"})


def test_an_answer_of_the_server_gets_feedback_that_becomes_a_record(serve, index):
    client = serve()
    answer = client.post("/v1/ask", json={"question": QUESTION, "threshold": 0}).json()
    citation = answer["citations"][0]
    evidence = {
        "document_id": citation["document_id"],
        "start": citation["answer_start"],
        "end": citation["answer_end"],
        "quote": answer["answer"],
    }
    reply = say(client, evidence=evidence, history=answer["history"], kind=answer["kind"], yes=answer["yes"])
    assert reply.status_code == 200 and reply.json()["answer"] == answer["answer"]
    (record,) = index.feedback_questions().records
    assert (record.answers, record.origin) == ((answer["answer"],), "feedback")
    (entry,) = read_feedback(index)
    assert entry.by == "" and entry.on is not None and entry.id == reply.json()["id"]


def test_another_verdict_replaces_and_withdraw_erases(serve, index):
    client = serve()
    first = say(client, "right").json()
    second = say(client, "better", better=place("1900")).json()
    assert (first["id"], first["answer"], second["answer"]) == (second["id"], "100 metres", "1900")
    assert [entry.verdict for entry in read_feedback(index)] == ["better"]
    assert say(client, "withdraw").json() == {"id": None, "verdict": "withdraw", "answer": None}
    assert read_feedback(index) == []


def test_null_that_is_right_is_an_unanswerable_record(serve, index):
    reply = say(serve(), question="Who sold it?", answered=False, evidence=place(TEXT)).json()
    assert reply["answer"] is None
    (record,) = index.feedback_questions().records
    assert not record.answerable and record.evidence[0].quote == TEXT


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"evidence": {**place(), "start": 0}}, 409, "has changed since"),
        ({"evidence": {**place(), "document_id": "none"}}, 404, "there is no document 'none'"),
        ({"evidence": {**place(), "end": 0}}, 422, "before its start"),
        ({"evidence": {**place(), "quote": "", "end": 21}}, 422, "between 1 and 10,000"),
        ({"question": " "}, 422, "the question is empty"),
        ({"question": "x" * 2001}, 413, "2,001 characters"),
        ({"history": ["x" * 2001]}, 413, "the history has 2,001 characters"),
        ({"history": ["x"] * 21}, 422, "at most 20"),
        ({"verdict": "good"}, 422, "verdict"),
        ({"verdict": "better"}, 422, "better"),
        ({"better": place()}, 422, "better"),
        ({"name": "me"}, 422, "name"),
        ({"question": "\ud800"}, 422, ""),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(serve, index, fields, status, message):
    client = serve()
    body = {"question": QUESTION, "verdict": "right", "evidence": place(), **fields}
    reply = client.post("/v1/feedback", content=json.dumps(body), headers={"content-type": "application/json"})
    assert reply.status_code == status, reply.text
    assert message in reply.json()["error"]["message"]
    assert str(index.path) not in reply.text
    assert not (index.path / "feedback.jsonl").exists()


def test_a_read_only_server_keeps_none(serve, index):
    client = serve(allow_changes=False)
    assert say(client).status_code == 403
    assert client.get("/v1/about").json()["feedback"] is False
    assert serve().get("/v1/about").json()["feedback"] is True


def test_a_queue_that_is_full_is_429_and_feedback_does_not_wait_for_changes(serve, index):
    client = serve(queue=1)
    server = client.app.state.server
    release = threading.Event()
    server.changes.submit(release.wait, 60)
    assert say(client).status_code == 200
    server.feedback.submit(release.wait, 60)
    server.feedback.submit(release.wait, 60)
    reply = say(client, "wrong")
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
    release.set()


@pytest.fixture
def readers(serve, tmp_path) -> tuple[httpx.Client, dict[str, str], Index]:
    hidden = Document(id="pay.txt", text="Gudrun earns 4242 guilders.", metadata={"access": ["board"]})
    documents = [Document(id="Oslo.txt", text=TEXT, metadata={"access": ["staff", "board"]}), hidden]
    index = Index.build(documents, tmp_path / "restricted", embedder=HashingEmbedder(), progress=False)
    path = tmp_path / "tokens.toml"
    groups = {"anna": ["staff"], "bert": ["board"]}
    tokens = {name: add_token(path, name, groups=own, rights="read") for name, own in groups.items()}
    return serve(index=index, tokens=path), tokens, index


def test_nobody_gives_feedback_on_what_he_may_not_read(readers):
    client, tokens, index = readers
    pay = place("4242", "pay.txt", "Gudrun earns 4242 guilders.")
    hidden = say(client, token=tokens["anna"], evidence=pay)
    better = say(client, "better", tokens["anna"], better=pay)
    nothing = say(client, token=tokens["anna"], evidence={**pay, "document_id": "xxx.txt"})
    assert {reply.status_code for reply in (hidden, better, nothing)} == {404}
    assert hidden.text.replace("pay.txt", "xxx.txt") == nothing.text
    assert say(client, token=tokens["bert"], evidence=pay).status_code == 200
    assert [entry.by for entry in read_feedback(index)] == ["bert"]


def test_each_person_has_a_vote_of_his_own_and_withdraws_only_that(readers):
    client, tokens, index = readers
    say(client, "right", tokens["anna"])
    say(client, "wrong", tokens["bert"])
    assert len(index.feedback_questions().disputed) == 2
    say(client, "withdraw", tokens["bert"])
    assert [(entry.by, entry.verdict) for entry in read_feedback(index)] == [("anna", "right")]


def test_a_removed_document_takes_its_feedback_and_votes_at_the_same_time_leave_none(serve, index):
    client = serve()
    say(client)
    statuses: list[int] = []

    def vote() -> None:
        for i in range(20):
            statuses.append(say(client, question=f"Question {i}?").status_code)

    voter = threading.Thread(target=vote)
    voter.start()
    assert client.delete("/v1/documents/Oslo.txt").status_code == 200
    voter.join(60)
    assert say(client).status_code == 404
    assert set(statuses) <= {200, 404}
    assert not (index.path / "feedback.jsonl").exists()
    assert Index.load(index.path, embedder=HashingEmbedder()).verify(absent="Oslo.txt").ok
