"""`/v1/review`: who is shown which record, what is kept of a verdict, and what is refused."""

import concurrent.futures
import json
import os
import threading

import httpx
import pytest
from commands import run_main
from data import little_world
from fakes import HashingEmbedder

from rag_ft.errors import DatasetError
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions, write_questions
from rag_ft.questions.review import Review, verdict_path
from rag_ft.schema import Document, Evidence, Question
from rag_ft.serving.http.tokens import add_token

TEXT = "The tower of Oslo is 100 metres high. It was built in 1900 by a guild of masons."


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "qa.jsonl"
    write_questions(little_world(2)[1], path)
    return path


@pytest.fixture
def client(serve, records):
    return serve(review=records)


def shown(reply: httpx.Response) -> dict:
    assert reply.status_code == 200, reply.text
    return reply.json()


def judge(client: httpx.Client, reply: dict, verdict: str = "accept", **fields) -> httpx.Response:
    record = reply["record"]
    body = {"id": record["question"]["id"], "record": record["record"], "before": record["verdict"], "verdict": verdict}
    return client.post("/v1/review", json={**body, **fields})


def place(words: str) -> dict:
    start = TEXT.index(words)
    return {"document_id": "Oslo.txt", "start": start, "end": start + len(words), "quote": words}


def kept(records, by=""):
    return Review(verdict_path(records, by), read_questions(records))


def test_a_record_is_shown_with_its_evidence_and_the_next_after_the_verdict(client, records):
    first = shown(client.get("/v1/review"))
    assert (first["file"], first["name"], first["last"], first["counts"]["records"]) == ("qa.jsonl", "", None, 6)
    (excerpt,) = first["record"]["excerpts"]
    (piece,), ((start, end),) = excerpt["pieces"], excerpt["evidence"]
    assert piece["text"][start - piece["start"] : end - piece["start"]] == "100 metres"
    second = shown(judge(client, first))
    assert second["record"]["question"]["id"] == "Oslo-2" and second["last"]["verdict"] == "accept"
    assert second["progress"] == "1 of 6 records judged: 1 accepted (100%), 0 rejected (0%)"
    assert kept(records).verdict("Oslo-1").verdict == "accept"


def test_terminal_and_page_are_used_alternately(client, records, tmp_path):
    judge(client, shown(client.get("/v1/review")))
    docs = tmp_path / "docs"
    docs.mkdir()
    for document in little_world(2)[0]:
        (docs / document.id).write_text(document.text)
    out = run_main("data", "review", records, "--documents", docs, stdin="r", COLUMNS="80").stdout
    assert "2 of 6 · Oslo-2" in out
    third = shown(client.get("/v1/review"))
    assert third["record"]["question"]["id"] == "Oslo-3" and third["last"]["id"] == "Oslo-2"
    undone = client.post("/v1/review", json={**third["last"], "before": "reject", "verdict": "undo"})
    assert shown(undone)["record"]["question"]["id"] == "Oslo-2" and kept(records).verdict("Oslo-2") is None


def test_an_edit_takes_words_wording_and_yes(client, records):
    reply = shown(client.get("/v1/review"))
    reply = shown(judge(client, reply, "edit", evidence=place("guild of masons"), question="Who built it?"))
    edited = kept(records).verdict("Oslo-1").question
    assert (edited.question, edited.answers, edited.kind) == ("Who built it?", ("guild of masons",), "span")
    shown(judge(client, reply, "edit", evidence=place("high. It"), yes=True))
    edited = kept(records).verdict("Oslo-2").question
    assert (edited.answers, edited.kind, edited.yes) == ((TEXT,), "part", True)


def test_an_edit_that_changes_nothing_accepts(client, records):
    reply = shown(client.get("/v1/review"))
    judge(client, reply, "edit", question=reply["record"]["question"]["question"])
    assert kept(records).verdict("Oslo-1").verdict == "accept"


def test_names_have_verdicts_of_their_own(client, records):
    ann = shown(client.get("/v1/review", params={"by": "ann"}))
    judge(client, ann, by="ann")
    assert shown(client.get("/v1/review", params={"by": "ben"}))["counts"]["accepted"] == 0
    assert kept(records, "ann").counts().accepted == 1 and not verdict_path(records, "ben").exists()


def give(records, by, verdicts):
    review = kept(records, by)
    for question, verdict in zip(review.questions, verdicts.split(), strict=False):
        review.give(question, verdict)


def test_how_far_others_agree_is_said_where_both_judged(client, records):
    give(records, "ann", "accept accept reject skip")
    assert shown(client.get("/v1/review", params={"by": "ann"}))["agreement"] == []
    give(records, "", "reject")
    give(records, "ben", "accept reject")
    give(records, "cleo", "skip skip skip accept accept")  # nothing in common
    ours = shown(client.get("/v1/review", params={"by": "ann"}))
    nobody, ben = ours["agreement"]
    assert (nobody["name"], nobody["judged"], nobody["same"], nobody["kappa"]) == ("", 1, 0, 0.0)
    assert (ben["name"], ben["judged"], ben["same"], ben["kappa"]) == ("ben", 2, 1, 0.0)
    third = {**shown(client.get("/v1/review", params={"by": "ben"})), "name": None}
    after = shown(judge(client, third, "reject", by="ben"))  # of the record that ann rejected
    (with_ann,) = [other for other in after["agreement"] if other["name"] == "ann"]
    assert with_ann["line"] == "3 records judged by both, 2 the same (67%); Cohen's kappa 0.40"
    assert with_ann["kappa"] == pytest.approx(0.4)


def test_only_those_who_gave_a_verdict_last_are_compared(client, records, monkeypatch):
    monkeypatch.setattr("rag_ft.serving.review.MOST_COMPARED", 2)
    for i, name in enumerate(("ann", "ben", "cleo", "dan")):
        give(records, name, "accept")
        os.utime(verdict_path(records, name), ns=(0, 10**9 * (9 - i)))
    agreements = shown(client.get("/v1/review", params={"by": "dan"}))["agreement"]
    assert [other["name"] for other in agreements] == ["ann", "ben"]


def test_others_verdicts_that_cannot_be_read_stop_nobody(client, records, caplog):
    for name in ("ann", "ben"):
        give(records, name, "accept")
    verdict_path(records, "eve").write_text('{"id": 1}\n')
    for _ in range(2):
        (other,) = shown(client.get("/v1/review", params={"by": "ann"}))["agreement"]
        assert other["name"] == "ben"
    assert sum("they are not compared" in record.message for record in caplog.records) == 1


def test_two_people_of_one_name_do_not_override_each_other(client, records):
    both = shown(client.get("/v1/review"))
    judge(client, both, "accept")
    late = judge(client, both, "reject")
    assert late.status_code == 409 and "somebody has judged 'Oslo-1' since" in late.json()["error"]["message"]
    assert kept(records).verdict("Oslo-1").verdict == "accept"


def test_verdicts_given_at_once_are_all_kept(client, records):
    replies = [shown(client.get("/v1/review", params={"id": question.id})) for question in read_questions(records)]
    people = [f"p{i}" for i in range(5)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        given = list(
            pool.map(lambda pair: judge(client, pair[0], by=pair[1]), [(r, p) for r in replies for p in people])
        )
    assert {reply.status_code for reply in given} == {200}
    assert [kept(records, name).counts().accepted for name in people] == [6] * 5


def test_more_text_is_shown_on_request(serve, records, tmp_path):
    text = "Before. " * 300 + TEXT + " After." * 300
    start = text.index("100 metres")
    evidence = Evidence(document_id="a.txt", start=start, end=start + 10, quote="100 metres")
    write_questions([Question(id="q", question="How high?", answers=("100 metres",), evidence=(evidence,))], records)
    index = Index.build(
        [Document(id="a.txt", text=text)], tmp_path / "long", embedder=HashingEmbedder(), progress=False
    )
    client = serve(index=index, review=records)
    lengths = [
        len(shown(client.get("/v1/review", params={"zoom": zoom}))["record"]["excerpts"][0]["pieces"][0]["text"])
        for zoom in (1, 2, 16)
    ]
    assert lengths[0] < lengths[1] < lengths[2] == len(text)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"id": "none"}, 404, "there is no record 'none'"),
        ({"record": "0"}, 409, "the record 'Oslo-1' has changed since"),
        ({"by": "../x"}, 422, "the reviewer's name is '../x'"),
        ({"by": "a" * 65}, 422, "up to 64 letters"),
        ({"verdict": "edit"}, 422, "'edit' takes question"),
        ({"question": "x"}, 422, "no other verdict does"),
        ({"verdict": "edit", "question": " "}, 422, "the question is empty"),
        ({"verdict": "edit", "question": "x" * 2001}, 413, "2,001 characters"),
        ({"verdict": "edit", "evidence": {**place("100 metres"), "start": 0}}, 409, "has changed since"),
        (
            {"verdict": "edit", "evidence": {**place("100 metres"), "document_id": "no"}},
            404,
            "there is no document 'no'",
        ),
        ({"verdict": "good"}, 422, "verdict"),
        ({"who": "me"}, 422, "who"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(client, records, fields, status, message):
    reply = judge(client, shown(client.get("/v1/review")), **fields)
    assert reply.status_code == status, reply.text
    assert message in reply.json()["error"]["message"] and str(records.parent) not in reply.text
    assert [path.name for path in records.parent.glob("qa*")] == ["qa.jsonl"]


def test_evidence_that_is_gone_cannot_be_accepted_but_rejected(client, records, index):
    index.remove("Oslo.txt")
    client.app.state.server.engine.refresh(now=True)
    reply = shown(client.get("/v1/review"))
    assert reply["record"]["problems"] == ["there is no document 'Oslo.txt'"]
    for verdict in ("accept", "no answer"):
        refused = judge(client, reply, verdict)
        assert refused.status_code == 409 and "mark the answer, reject or skip" in refused.json()["error"]["message"]
    assert judge(client, reply, "reject").status_code == 200


def test_records_that_change_are_judged_again_and_a_damaged_file_leaves_them(client, records, caplog):
    judge(client, shown(client.get("/v1/review")))
    questions = read_questions(records)
    write_questions([questions[0].model_copy(update={"question": "How tall is it?"}), *questions[1:]], records)
    reply = shown(client.get("/v1/review"))
    assert reply["record"]["question"]["question"] == "How tall is it?"
    assert reply["notes"] == ["1 records changed after they were judged: they are to be judged again"]
    records.write_text("{")
    assert shown(client.get("/v1/review"))["record"] == reply["record"] and "are reviewed" in caplog.text


def test_verdicts_that_cannot_be_read_are_an_error_without_a_path(client, records, caplog):
    verdict_path(records).write_text("{}\n")
    reply = client.get("/v1/review")
    assert reply.status_code == 503 and str(records.parent) not in reply.text
    assert "line 1 is not a verdict" in caplog.text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_a_full_disk_is_507(client, records, monkeypatch):
    reply = shown(client.get("/v1/review"))

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rag_ft.questions.review.append_whole", full)
    refused = judge(client, reply)
    assert refused.status_code == 507 and str(records.parent) not in refused.text


def test_a_server_without_records_says_how_to_give_some(serve):
    reply = serve().get("/v1/review")
    assert reply.status_code == 404 and "--review FILE" in reply.json()["error"]["message"]


def test_records_that_cannot_be_read_stop_the_start(serve, tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        serve(review=tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="takes no verdicts"):
        serve(review=tmp_path / "none.jsonl", allow_changes=False)


def test_a_queue_that_is_full_is_429(serve, records):
    client = serve(queue=1, review=records)
    release = threading.Event()
    server = client.app.state.server
    for _ in range(2):
        server.reviews.submit(release.wait, 60)
    assert client.get("/v1/review").status_code == 429
    release.set()


@pytest.fixture
def people(serve, tmp_path):
    """Anna of the staff, Bert of the board, a reader and an administrator review records that not all may see."""
    hidden = Document(id="pay.txt", text="Gudrun earns 4242 guilders.", metadata={"access": ["board"]})
    open_to = Document(id="Oslo.txt", text=TEXT, metadata={"access": ["staff", "board"]})
    index = Index.build([open_to, hidden], tmp_path / "restricted", embedder=HashingEmbedder(), progress=False)
    records = tmp_path / "qa.jsonl"
    pay = Evidence(document_id="pay.txt", start=13, end=17, quote="4242")
    oslo = Evidence(**place("100 metres"))
    write_questions(
        [
            Question(id="pay", question="What does Gudrun earn?", answers=("4242",), evidence=(pay,)),
            Question(id="both", question="Gudrun in Oslo?", answers=("4242",), evidence=(oslo, pay)),
            Question(id="bare", question="Is Gudrun dismissed?", answerable=False),
            Question(id="oslo", question="How high?", answers=("100 metres",), evidence=(oslo,)),
        ],
        records,
    )
    path = tmp_path / "tokens.toml"
    tokens = {
        "anna": add_token(path, "anna", groups=["staff"], rights="write"),
        "bert@office": add_token(path, "bert@office", groups=["board"], rights="write"),
        "cleo": add_token(path, "cleo", groups=["board"], rights="read"),
        "root": add_token(path, "root", groups=[], rights="admin"),
    }
    client = serve(index=index, tokens=path, review=records)

    def get(who: str, **params: str) -> httpx.Response:
        return client.get("/v1/review", params=params, headers={"authorization": f"Bearer {tokens[who]}"})

    return client, tokens, get, records


def test_who_may_not_read_a_document_does_not_see_its_records(people):
    client, tokens, get, _ = people
    assert get("cleo").status_code == 403 and client.get("/v1/review").status_code == 401
    anna = shown(get("anna"))
    assert (anna["record"]["question"]["id"], anna["counts"]["records"]) == ("oslo", 1)
    assert "Gudrun" not in json.dumps(anna) and "pay" not in json.dumps(anna)
    assert get("anna", id="pay").text.replace("pay", "xxx") == get("anna", id="xxx").text
    assert shown(get("bert@office"))["counts"]["records"] == 3
    assert shown(get("root"))["counts"]["records"] == 4
    evidence = {"document_id": "pay.txt", "start": 13, "end": 17, "quote": "4242"}
    moved = judge_as(client, tokens["anna"], anna, "edit", evidence=evidence)
    absent = judge_as(client, tokens["anna"], anna, "edit", evidence={**evidence, "document_id": "xxx.txt"})
    assert moved.status_code == absent.status_code == 404
    assert moved.text.replace("pay.txt", "xxx.txt") == absent.text


def judge_as(client, token, reply, verdict="accept", **fields):
    client.headers["authorization"] = f"Bearer {token}"
    try:
        return judge(client, reply, verdict, **fields)
    finally:
        del client.headers["authorization"]


def test_agreement_is_about_the_records_that_the_reviewer_may_see(people):
    client, tokens, get, records = people
    give(records, "bert@office", "accept reject accept reject")
    give(records, "root", "accept reject reject accept")
    assert judge_as(client, tokens["anna"], shown(get("anna")), "reject").status_code == 200
    seen = {
        who: [(other["name"], other["judged"], other["same"]) for other in shown(get(who))["agreement"]]
        for who in ("anna", "bert@office", "root", "anna")
    }
    assert seen == {
        "anna": [("bert@office", 1, 1), ("root", 1, 0)],
        "bert@office": [("anna", 1, 1), ("root", 3, 2)],
        "root": [("anna", 1, 0), ("bert@office", 4, 2)],
    }


def test_with_personal_tokens_everyone_reviews_as_himself(people):
    client, tokens, get, records = people
    assert get("anna", by="bert@office").status_code == 403
    reply = shown(get("bert@office"))
    assert reply["name"] == "bert@office"
    assert judge_as(client, tokens["bert@office"], reply).status_code == 200
    assert kept(records, "bert@office").counts().accepted == 1
    about = client.get("/v1/about", headers={"authorization": f"Bearer {tokens['cleo']}"}).json()
    assert about["review"] is False
