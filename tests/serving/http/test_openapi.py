"""What `/openapi.json` says of replies, compared with the replies."""

import re
import shutil

import httpx
import pytest

from rag_ft.questions.records import write_questions
from rag_ft.questions.review import record_fingerprint
from rag_ft.schema import Question
from rag_ft.serving.http.openapi import ERRORS

TOKEN = "a-token-of-enough-letters"
QUESTION = "How high is the tower of Oslo?"
CHAT = {"messages": [{"role": "user", "content": QUESTION}]}
FILE = {"file": ("Riga.txt", b"The tower of Riga is 199 metres high.")}


def template_of(described: dict, path: str) -> str:
    """The path of the description that a path is of."""
    matching = [template for template in described["paths"] if re.fullmatch(re.sub(r"\{\w+\}", ".+", template), path)]
    return min(matching, key=lambda template: "{" in template)


def undocumented(described: dict, reply: httpx.Response) -> str | None:
    """What a reply has that the description does not."""
    method, path = reply.request.method.lower(), reply.request.url.path
    responses = described["paths"][template_of(described, path)][method]["responses"]
    status, kind = str(reply.status_code), reply.headers["content-type"].partition(";")[0]
    if status not in responses:
        return f"{method} {path}: {status} is not among {sorted(responses)}"
    if kind not in responses[status]["content"]:
        return f"{method} {path}: {status} is {kind} and not {sorted(responses[status]['content'])}"
    if int(status) >= 400 and path != "/readyz" and reply.json()["error"]["code"] != status:
        return f"{method} {path}: {status} has no error in it"
    return None


def feedback(**changed: object) -> dict:
    place = {"document_id": "Riga.txt", "start": 21, "end": 31, "quote": "199 metres", **changed}
    return {"question": QUESTION, "verdict": "right", "evidence": place}


RECORD = Question(id="q", question="How long is it?", answerable=False)
VERDICT = {"id": "q", "record": record_fingerprint(RECORD), "verdict": "accept"}

REQUESTS = [
    ("post", "/v1/ask", {"json": {"question": QUESTION}}, 200),
    ("post", "/v1/ask", {"json": {"question": QUESTION, "stream": True}}, 200),
    ("post", "/v1/ask", {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
    ("post", "/v1/ask", {"content": b"{}"}, 415),
    ("post", "/v1/ask", {"json": {}}, 422),
    ("post", "/v1/ask", {"json": {"question": QUESTION, "adapter": "other"}}, 404),
    ("post", "/v1/ask", {"json": {"question": "x" * 3000}}, 413),
    ("post", "/v1/search", {"json": {"query": QUESTION}}, 200),
    ("post", "/v1/search", {"json": {"query": QUESTION, "k": 100}}, 422),
    ("post", "/v1/chat/completions", {"json": CHAT}, 200),
    ("post", "/v1/chat/completions", {"json": {**CHAT, "stream": True}}, 200),
    ("post", "/v1/chat/completions", {"json": {**CHAT, "model": "other"}}, 404),
    ("get", "/v1/models", {}, 200),
    ("get", "/v1/models/rag-ft", {}, 200),
    ("get", "/v1/models/other", {}, 404),
    ("get", "/v1/documents", {}, 200),
    ("get", "/v1/documents", {"params": {"limit": 0}}, 422),
    ("post", "/v1/documents", {"files": FILE}, 201),
    ("post", "/v1/documents", {"files": FILE}, 409),
    ("post", "/v1/documents", {"json": {}}, 422),
    ("post", "/v1/documents", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
    ("post", "/v1/documents", {"files": {"file": ("Riga.txt", b"x" * 200_000)}}, 413),
    ("get", "/v1/documents/Riga.txt", {}, 200),
    ("get", "/v1/documents/Riga.txt", {"params": {"start": -1}}, 422),
    ("get", "/v1/documents/none", {}, 404),
    ("post", "/v1/feedback", {"json": feedback()}, 200),
    ("post", "/v1/feedback", {"json": feedback(document_id="none")}, 404),
    ("post", "/v1/feedback", {"json": feedback(start=0)}, 409),
    ("post", "/v1/feedback", {"content": b"{}"}, 415),
    ("post", "/v1/feedback", {"json": {}}, 422),
    ("get", "/v1/review", {}, 200),
    ("get", "/v1/review", {"params": {"zoom": 99}}, 422),
    ("get", "/v1/review", {"params": {"id": "none"}}, 404),
    ("post", "/v1/review", {"json": VERDICT}, 200),
    ("post", "/v1/review", {"json": VERDICT}, 409),
    ("post", "/v1/review", {"json": {}}, 422),
    ("post", "/v1/review", {"content": b"{}"}, 415),
    ("get", "/v1/pages/none", {}, 404),
    ("get", "/v1/pages/none", {"params": {"page": 0}}, 422),
    ("get", "/v1/originals/none", {}, 404),
    ("delete", "/v1/documents/Riga.txt", {}, 200),
    ("delete", "/v1/documents/none", {}, 404),
    ("get", "/healthz", {}, 200),
    ("get", "/readyz", {}, 200),
    ("get", "/metrics", {}, 200),
    ("get", "/v1/about", {}, 200),
]


def test_every_reply_is_one_that_the_description_tells_of(serve, index, tmp_path):
    write_questions([RECORD], tmp_path / "qa.jsonl")
    client = serve(max_upload_bytes=100_000, review=tmp_path / "qa.jsonl")
    described = client.get("/openapi.json").json()
    replies = []
    for method, path, content, status in REQUESTS:
        reply = client.request(method, path, **content)
        assert reply.status_code == status, (method, path, reply.text)
        replies.append(reply)
    routes = {(method, path) for path, methods in described["paths"].items() for method in methods}
    assert routes == {(method, template_of(described, path)) for method, path, _, _ in REQUESTS}
    for method, template in sorted(routes):
        path = template.format(document_id="x", name="x")
        replies.append(client.request(method, path, headers={"host": "@"}))
        replies.append(client.request(method, path, headers={"origin": "https://evil.example"}))
        replies.append(client.request(method, path, content=b"x" * 300_000))
    assert {reply.status_code for reply in replies[len(REQUESTS) :]} == {400, 403, 413}
    shutil.rmtree(index.path)
    replies += [
        client.get("/readyz"),
        client.post("/v1/documents", files=FILE),
        client.delete("/v1/documents/Oslo.txt"),
    ]
    assert {reply.status_code for reply in replies[-3:]} == {503}
    assert [problem for reply in replies if (problem := undocumented(described, reply))] == []


def test_a_missing_token_is_told_of_at_every_route(serve):
    client = serve(token=TOKEN)
    described = client.get("/openapi.json", headers={"authorization": f"Bearer {TOKEN}"}).json()
    for template, methods in described["paths"].items():
        for method in methods:
            reply = client.request(method, template.format(document_id="x", name="x"))
            assert reply.status_code == 401 or template in ("/healthz", "/readyz")
            assert undocumented(described, reply) is None


def test_only_our_own_form_of_errors_is_described(serve):
    described = serve().get("/openapi.json").json()
    assert not {"HTTPValidationError", "ValidationError"} & described["components"]["schemas"].keys()
    references = set(re.findall(r"#/components/schemas/(\w+)", str(described)))
    assert references <= described["components"]["schemas"].keys()
    assert list(described["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    for methods in described["paths"].values():
        for route in methods.values():
            for status, reply in route["responses"].items():
                assert status in ("200", "201", "503") or reply["description"] == ERRORS[int(status)]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/documents", "GET, OPTIONS, POST"),
        ("/v1/documents/Oslo.txt", "DELETE, GET, OPTIONS"),
        ("/v1/ask", "OPTIONS, POST"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_wrong_methods_are_told_every_method_that_there_is(serve, path, methods):
    client = serve()
    options, wrong = client.options(path), client.patch(path)
    assert (options.status_code, options.content, options.headers["allow"]) == (204, b"", methods)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, methods)
    assert "access-control-allow-origin" not in options.headers
    assert client.options("/nothing").status_code == 404
