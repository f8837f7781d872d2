"""What each token sees of the index, through every route of a real server."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fakes import HashingEmbedder
from mcp import Client
from typer.testing import CliRunner

from rag_ft.cli import app
from rag_ft.cli.mcp import _audience
from rag_ft.errors import UsageError
from rag_ft.indexing.access import audience
from rag_ft.indexing.formats import extract
from rag_ft.indexing.index import Index
from rag_ft.indexing.sources.events import ReadDocument
from rag_ft.schema import Document
from rag_ft.serving.app import create_app
from rag_ft.serving.batching import Ask
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.engine import Engine
from rag_ft.serving.http import rights
from rag_ft.serving.http.rights import RIGHTS
from rag_ft.serving.http.tokens import Right, add_token, remove_token
from rag_ft.serving.mcp import create_mcp

OPEN = [
    Document(id="Oslo.txt", title="Oslo", text="The tower of Oslo is 100 metres high. It was built in 1900 by masons."),
    Document(id="Lima.txt", title="Lima", text="The tower of Lima is 107 metres high. It was built in 1903 by masons."),
    Document(
        id="deep/Cairo.txt",
        title="Cairo",
        text="The tower of Cairo is 114 metres high. The staff built it.",
        metadata={"access": ["staff"]},
    ),
    Document(
        id="Turin.txt", title="Turin", text="The tower of Turin costs 12 euro.", metadata={"access": ["legal", "staff"]}
    ),
]
HIDDEN = [
    Document(
        id="merger.txt",
        title="Merger papers",
        source="secret/merger.txt",
        text="The xylophone merger is called Quetzalcoatl. The tower of Oslo is sold for 900 ducats.",
        metadata={"access": ["board"], "topic": "takeover"},
    ),
    Document(id="pay.txt", title="Payroll", text="Gudrun earns 4242 guilders.", metadata={"access": []}),
    Document(id="odd.txt", title="Oddity", text="Label from before: marzipan.", metadata={"access": ["hr"]}),
    Document(id="uploads/x/memo.txt", title="Memo", text="Memo of nobody.", metadata={"access": [], "uploaded": True}),
]
SECRETS = re.compile(
    r"xylophone|ducats|takeover|merger papers|secret/merger|gudrun|guilders|payroll|marzipan|oddity|memo of nobody",
    re.I,
)
QUESTIONS = (
    "How high is the tower of Oslo?",
    "What is Quetzalcoatl, and who is sold?",  # words of hidden documents
    "What is Zanzibar, and who is told?",  # words of none
    "Who earns 4242?",
)


def build(folder: Path, documents: list[Document]) -> Index:
    return Index.build(documents, folder / "index", embedder=HashingEmbedder(), progress=False)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return build(tmp_path, OPEN + HIDDEN)


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "tokens.toml"
    return {
        "path": str(path),
        "anna": add_token(path, "anna", groups=["staff"], rights="read"),
        "bert": add_token(path, "bert", groups=["staff", "sales"], rights="write"),
        "cleo": add_token(path, "cleo", groups=[], rights="read"),
        "root": add_token(path, "root", groups=[], rights="admin"),
    }


@pytest.fixture
def client(serve: Any, tokens: dict[str, str]) -> httpx.Client:
    return serve(tokens=tokens["path"])


@pytest.fixture(autouse=True)
def _uploads_are_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each would take a second."""

    def read(name: str, data: bytes, **limits: Any) -> ReadDocument:
        extracted = extract(name, data)
        metadata = {**extracted.metadata, "uploaded": True}
        title = Path(name).stem
        return ReadDocument(Document(id=name, text=extracted.text, title=title, source=name, metadata=metadata))

    monkeypatch.setattr("rag_ft.serving.routes.documents.parse_upload", read)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def every_route(client: httpx.Client, token: str) -> dict[str, str]:
    """What a token gets from each route with each question; and from those that name hidden documents."""
    replies: dict[str, str] = {}

    def note(name: str, reply: httpx.Response) -> None:
        headers = {key: reply.headers.get(key) for key in ("content-type", "retry-after", "www-authenticate")}
        replies[name] = f"{reply.status_code} {headers} {reply.text}"

    client.headers.update(bearer(token))
    for i, question in enumerate(QUESTIONS):
        asked: dict[str, Any] = {"question": question, "k": 20}
        chat = {"messages": [{"role": "user", "content": question}]}
        note(f"ask {i}", client.post("/v1/ask", json=asked))
        note(f"ask one {i}", client.post("/v1/ask", json={**asked, "k": 1, "threshold": 0}))
        note(f"ask stream {i}", client.post("/v1/ask", json={**asked, "stream": True}))
        note(f"ask after {i}", client.post("/v1/ask", json={**asked, "history": ["Who sold the tower?"]}))
        note(f"search {i}", client.post("/v1/search", json={"query": question, "k": 20}))
        note(f"chat {i}", client.post("/v1/chat/completions", json=chat))
        note(f"chat stream {i}", client.post("/v1/chat/completions", json={**chat, "stream": True}))
    for where in ({"access": "board"}, {"document_id": "merger.txt"}, {"topic": "takeover"}, {"title": "Payroll"}):
        note(f"where {where}", client.post("/v1/search", json={"query": "tower", "k": 20, "where": where}))
        note(f"ask where {where}", client.post("/v1/ask", json={"question": "tower?", "where": where}))
    for name in ("merger.txt", "pay.txt", "nothing.txt", "Oslo.txt", "uploads/x/memo.txt", "merger.txt?start=0&end=9"):
        note(f"document {name}", client.get(f"/v1/documents/{name}"))
        for route in ("pages", "originals", "links"):
            note(f"{route} {name}", client.get(f"/v1/{route}/{name}"))
        place = {"document_id": name.partition("?")[0], "start": 4, "end": 9, "quote": "tower"}
        for verdict in ("right", "withdraw"):
            said = {"question": "Which?", "verdict": verdict, "evidence": place}
            note(f"feedback {verdict} {name}", client.post("/v1/feedback", json=said))
        hidden = {"document_id": "Oslo.txt", "start": 4, "end": 9, "quote": "tower"}
        said = {"question": "Which?", "verdict": "better", "evidence": hidden, "better": place}
        note(f"feedback better {name}", client.post("/v1/feedback", json=said))
    for path in ("/v1/documents", "/v1/documents?offset=4", "/v1/documents?limit=1", "/v1/about", "/v1/models"):
        note(path, client.get(path))
    for path in ("/v1/models/rag-ft", "/openapi.json", "/metrics", "/v1/report", "/report/x", "/healthz", "/readyz"):
        note(path, client.get(path))
    for name in ("merger.txt", "nothing.txt", "memo.txt"):
        file = {"file": (name, b"Words of the uploader.")}
        note(f"upload {name}", client.post("/v1/documents", files=file))
        note(f"upload again {name}", client.post("/v1/documents", files=file))
        note(f"replace {name}", client.post("/v1/documents?replace=true", files=file))
    for name in ("merger.txt", "pay.txt", "nothing.txt", "uploads/x/memo.txt", "uploads/1/merger.txt", "Lima.txt"):
        note(f"delete {name}", client.delete(f"/v1/documents/{name}"))
    note("search at the end", client.post("/v1/search", json={"query": "uploader Quetzalcoatl", "k": 20}))
    note("about at the end", client.get("/v1/about"))
    for name in ("uploads/2/nothing.txt", "uploads/3/memo.txt", "Oslo.txt", "Turin.txt", "deep/Cairo.txt"):
        note(f"delete {name}", client.delete(f"/v1/documents/{name}"))  # down to the last one it may see
    note("documents at the end", client.get("/v1/documents"))
    return replies


def plain(text: str) -> str:
    """Without what differs between two runs of the same: times, the index's folder, a completion's own name."""
    text = re.sub(r'("(?:\w+_seconds|created)":)[\d.e-]+', r"\1 0", text)
    return re.sub(r"chatcmpl-\w+|/[^ \"']*?/(?:with|without)/index", "", text)


@pytest.mark.parametrize("name", ["anna", "bert", "cleo"])
def test_no_reply_of_any_route_depends_on_what_is_hidden(
    name, tmp_path, tokens, tiny_reader, serve, monkeypatch, caplog
):
    replies = []
    for folder, documents in (("with", OPEN + HIDDEN), ("without", OPEN)):
        numbers = iter(range(1, 100))
        fixed = SimpleNamespace(token_hex=lambda size, numbers=numbers: str(next(numbers)))
        monkeypatch.setattr(rights, "secrets", fixed)
        index = build(tmp_path / folder, documents)
        client = serve(index=index, tokens=tokens["path"])
        replies.append({route: plain(reply) for route, reply in every_route(client, tokens[name]).items()})
        left = Index.load(tmp_path / folder / "index")
        assert [document for document in HIDDEN if document.id in list(left.documents())] == (
            HIDDEN if folder == "with" else []
        )
        assert all(left.document(document.id).text == document.text for document in HIDDEN if folder == "with")
    for route in replies[0]:
        assert replies[0][route] == replies[1][route], route
    text = "\n".join(replies[0].values())
    assert not SECRETS.search(text), SECRETS.search(text)
    assert not SECRETS.search(caplog.text) and "rft_" not in caplog.text
    hits = {hit["passage"]["document_id"] for hit in json.loads(replies[0]["search 0"].partition("} ")[2])["hits"]}
    assert hits == {document.id for document in OPEN if name != "cleo" or not document.metadata}
    changed = {"bert": "201", "anna": "403", "cleo": "403"}[name]
    assert replies[0]["upload merger.txt"].startswith(changed)
    assert replies[0]["delete merger.txt"].startswith("404" if name == "bert" else "403")


def test_every_route_has_a_declared_right(client):
    app = client.app
    there = {
        (method, route.path)
        for route in app.routes
        for method in route.methods
        if method != "HEAD" or "GET" not in route.methods
    }
    there = {("GET" if method == "HEAD" else method, path) for method, path in there}
    assert there == set(RIGHTS)
    described = {(method.upper(), path) for path, ways in app.openapi()["paths"].items() for method in ways}
    assert described <= {(method, path.replace(":path", "")) for method, path in RIGHTS}


def test_a_route_without_one_is_an_administrators(client, tokens):
    @client.app.get("/v1/new")
    async def new() -> str:
        return "secret"

    assert client.get("/v1/new").status_code == 401
    assert client.get("/v1/new", headers=bearer(tokens["bert"])).status_code == 403
    assert client.get("/v1/new", headers=bearer(tokens["root"])).status_code == 200


def test_each_route_refuses_who_has_not_its_right_before_it_reads_anything(client, tokens):
    for (method, path), right in RIGHTS.items():
        target = re.sub(r"{.*?}", "merger.txt", path)
        heads = [{}, *(bearer(tokens[who]) for who in ("anna", "bert", "root"))]
        got = [client.request(method, target, headers=head, content=b"{").status_code for head in heads]
        if right is None:
            assert 401 not in got and 403 not in got, path
        else:
            assert got[0] == 401, path
            assert [code == 403 for code in got[1:]] == [right > Right.READ, right > Right.WRITE, False], (path, got)
    assert client.get("/nothing").status_code == 401
    assert client.get("/nothing", headers=bearer(tokens["anna"])).status_code == 404


def test_an_upload_is_read_by_the_groups_that_its_uploader_chose_among_his_own(client, tokens, index):
    def send(text: str, query: str = "", who: str = "bert", name: str = "note.md") -> httpx.Response:
        return client.post(f"/v1/documents{query}", files={"file": (name, text.encode())}, headers=bearer(tokens[who]))

    def label(reply: httpx.Response) -> object:
        assert reply.status_code == 201, reply.text
        return Index.load(index.path).document(reply.json()["id"]).metadata.get("access")

    first = send("All mine.")
    assert label(first) == ["sales", "staff"] and re.fullmatch(r"uploads/[0-9a-f]{16}/note\.md", first.json()["id"])
    assert send("Again.").status_code == 409
    again = send("Again.", "?replace=true&access=sales")
    assert label(again) == ["sales"] and again.json()["id"] == first.json()["id"]
    assert client.get(f"/v1/documents/{first.json()['id']}", headers=bearer(tokens["anna"])).status_code == 404
    assert label(send("---\naccess: staff\n---\nOwn.", name="own.md")) == ["staff"]
    for text, query, message in (
        ("x", "?access=board", "does not have: choose from sales, staff"),
        ("x", "?access=a%20b", "names the group"),
        ("---\naccess: board\n---\nx", "", "names none of the groups"),
        ("---\naccess: staff\n---\nx", "?access=sales", "names none of the groups"),
        ("---\naccess: 3\n---\nx", "", "has no valid 'access'"),
        ("---\nAccess: staff\n---\nx", "", "write it 'access'"),
    ):
        reply = send(text, query, name="bad.md")
        assert reply.status_code == 422 and message in reply.json()["error"]["message"], reply.text
    assert label(send("For all.", who="root", name="all.md")) is None
    assert label(send("For the board.", "?access=board", who="root", name="board.md")) == ["board"]
    taken = send("Not that one.", name="Oslo.txt")
    assert taken.status_code == 409  # it may see that there is one
    assert sorted(Index.load(index.path).documents())[:1] == ["Lima.txt"]


def test_questions_of_several_readers_in_one_batch_are_each_answered_from_their_own_part(index, tiny_reader, tokens):
    engine = Engine(index, tiny_reader)
    staff, nobody = index.visible_to(["staff"]), index.visible_to([])
    from rag_ft.indexing.access import audience

    asks = [
        Ask("How high is the tower of Oslo?", 20, audience=who)
        for who in (audience(["staff"]), None, audience([]), audience(["board"]), audience(["staff"]))
    ]
    passages: dict[int, set[str]] = {}
    answers = engine.answer(asks, lambda i, hits: passages.update({i: {hit.passage.document_id for hit in hits}}))
    read = [{retrieved.passage.document_id for retrieved in answer.passages} for answer in answers]
    opened = {"Oslo.txt", "Lima.txt"}
    assert read == [set(staff.documents()), set(index.documents()), opened, opened | {"merger.txt"}, read[0]]
    assert passages == dict(enumerate(read))
    prints = [answer.provenance.index for answer in answers]
    assert prints[0] == prints[4] == staff.fingerprint and prints[2] == nobody.fingerprint
    assert prints[1] == index.fingerprint and len(set(prints)) == 4


def test_what_another_process_hides_is_hidden_without_a_question_in_between(client, tokens, index, monkeypatch):
    monkeypatch.setattr("rag_ft.serving.engine.REFRESH_INTERVAL_S", 0.0)
    head = bearer(tokens["cleo"])
    assert client.get("/v1/documents/Oslo.txt", headers=head).status_code == 200
    other = Index.load(index.path, embedder=HashingEmbedder())
    hidden = OPEN[0].model_copy(update={"metadata": {"access": ["board"]}})
    other.add([hidden], progress=False)
    assert client.get("/v1/documents/Oslo.txt", headers=head).status_code == 404
    assert client.get("/v1/documents", headers=head).json()["total"] == 1
    other.add([OPEN[0]], progress=False)
    assert client.get("/v1/about", headers=head).json()["documents"] == 2
    other.add([hidden], progress=False)
    hits = client.post("/v1/search", json={"query": "tower of Oslo"}, headers=head).json()["hits"]
    assert [hit["passage"]["document_id"] for hit in hits] == ["Lima.txt"]


def test_a_token_that_is_taken_away_or_changed_counts_from_the_next_request_on(serve, tokens, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<h1>Verdict of the merger</h1>")
    client = serve(tokens=tokens["path"], report=report)
    link = client.get("/v1/report", headers=bearer(tokens["root"])).json()["path"]
    assert client.get(link).status_code == 200
    path = Path(tokens["path"])
    path.write_text(path.read_text().replace('"admin"', '"read"'))
    assert client.get(link).status_code == 404  # the ticket was an administrator's
    assert client.get("/v1/about", headers=bearer(tokens["root"])).json()["report"] is False
    assert client.get("/metrics", headers=bearer(tokens["root"])).status_code == 403
    remove_token(path, "anna")
    assert client.get("/v1/about", headers=bearer(tokens["anna"])).status_code == 401
    about = client.get("/v1/about", headers=bearer(tokens["bert"])).json()
    assert (about["name"], about["groups"], about["rights"], about["changes"]) == (
        "bert",
        ["sales", "staff"],
        "write",
        True,
    )
    assert (about["documents"], about["passages"]) == (4, 4)


def test_default_access_hides_what_has_no_label(client, tokens):
    path = Path(tokens["path"])
    path.write_text('default_access = ["sales"]\n' + path.read_text())
    ids = lambda who: [  # noqa: E731
        entry["id"] for entry in client.get("/v1/documents", headers=bearer(tokens[who])).json()["documents"]
    ]
    assert ids("cleo") == [] and ids("anna") == ["Turin.txt", "deep/Cairo.txt"]
    assert len(ids("bert")) == 4 and len(ids("root")) == 8
    asked = client.post("/v1/ask", json={"question": "Tower?"}, headers=bearer(tokens["cleo"]))
    assert asked.status_code == 200 and asked.json()["answer"] is None and asked.json()["passages"] == []


def test_with_one_shared_token_or_none_everything_is_as_it_was(serve, tokens):
    for settings in ({}, {"token": "a-token-of-enough-letters"}):
        client = serve(**settings)  # not beside the other, whose upload it might still see
        client.headers.update(bearer("a-token-of-enough-letters"))
        assert client.get("/v1/documents").json()["total"] == 8
        uploaded = client.post("/v1/documents", files={"file": ("crane.txt", b"The crane lifts 42 tonnes.")})
        assert uploaded.json()["id"] == "crane.txt"
        assert client.delete("/v1/documents/crane.txt").status_code == 200
        assert client.get("/metrics").status_code == 200


def test_clients_take_turns_by_token_and_not_by_machine(client, tokens, monkeypatch):
    seen = []
    answer = client.app.state.server.batcher.answer

    def noted(ask, who, on_passages=None):
        seen.append(who)
        return answer(ask, who, on_passages)

    monkeypatch.setattr(client.app.state.server.batcher, "answer", noted)
    for who in ("anna", "bert"):
        client.post("/v1/ask", json={"question": "Tower?"}, headers=bearer(tokens[who]))
    assert seen == ["token anna", "token bert"]


def test_an_open_address_takes_a_file_of_tokens_and_not_two_kinds_at_once(tokens):
    assert ServeConfig(host="0.0.0.0", tokens=tokens["path"]).needs_token
    with pytest.raises(ValueError, match="a shared token and a file"):
        ServeConfig(tokens=tokens["path"], token="a-token-of-enough-letters")


def test_a_bad_file_of_tokens_is_said_before_anything_is_loaded(tmp_path, index, tiny_reader):
    path = tmp_path / "bad.toml"
    path.write_text("[[token]]\nname = 'x'\n")
    result = CliRunner().invoke(app, ["serve", "--index", str(tmp_path / "none"), "--tokens", str(path)])
    assert "not a valid file of tokens" in str(result.exception)
    with pytest.raises(UsageError, match="not a valid file of tokens"):
        create_app(index, tiny_reader, ServeConfig(tokens=path))


async def test_an_assistant_is_shown_what_its_groups_may_read(index, tiny_reader):
    async with Client(create_mcp(index, tiny_reader, audience=audience(["staff"]))) as client:
        for question in QUESTIONS:
            hits = (await client.call_tool("search", {"query": question, "k": 20})).structured_content["result"]
            assert {hit["document_id"] for hit in hits} == {document.id for document in OPEN}
            asked = await client.call_tool("ask", {"question": question})
            assert not SECRETS.search(json.dumps([hits, asked.structured_content]))


def test_an_assistants_scope_comes_from_groups_or_from_a_token(tokens, monkeypatch):
    assert _audience(None, None) is None
    assert _audience("staff, legal", None).groups == {"staff", "legal"}
    assert _audience("", None).groups == frozenset()
    path = Path(tokens["path"])
    monkeypatch.setenv("RAG_FT_TOKEN", tokens["anna"])
    assert _audience(None, path).groups == {"staff"}
    monkeypatch.setenv("RAG_FT_TOKEN", tokens["root"])
    assert _audience(None, path) is None
    monkeypatch.setenv("RAG_FT_TOKEN", "rft_wrong")
    for call, message in (((None, path), "is not in"), (("a", path), "give one of them"), (("a b", None), "--groups")):
        with pytest.raises(UsageError, match=message):
            _audience(*call)
