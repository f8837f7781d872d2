"""Pages of PDFs as images and the files themselves, to those who may read them."""

import io
from pathlib import Path

import pytest
from fakes import HashingEmbedder

from rag_ft.indexing.formats.pdf.rendering import check_png
from rag_ft.indexing.index import Index
from rag_ft.serving.http import tickets
from rag_ft.serving.http.tokens import add_token

HTML = b"<p>The quay is open.</p><script>alert(1)</script>"


def a_pdf(*lines: str) -> bytes:
    from reportlab.pdfgen import canvas

    content = io.BytesIO()
    page = canvas.Canvas(content, pagesize=(300, 400))
    for line in lines:
        page.drawString(40, 300, line)
        page.showPage()
    page.save()
    return content.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "board").mkdir(parents=True)
    (folder / "crane.pdf").write_bytes(a_pdf("The crane lifts forty-two tonnes.", "It was built in 1931."))
    (folder / "quay.html").write_bytes(HTML)
    (folder / "übung.txt").write_bytes("Die Brücke ist offen, die Schleuse nicht.".encode("cp1252"))
    (folder / "notes.docx").write_bytes(b"")
    (folder / "board" / "merger.pdf").write_bytes(a_pdf("The merger is secret."))
    (folder / "access.toml").write_text('[access]\n"board" = ["board"]\n')
    return folder


@pytest.fixture
def index(folder, tmp_path) -> Index:
    return Index.build(folder, tmp_path / "index", embedder=HashingEmbedder(), progress=False, keep_originals=True)


def test_a_page_is_drawn_as_wide_as_it_was_asked_for(serve):
    client = serve()
    images = [client.get("/v1/pages/crane.pdf", params={"page": page, "width": 600}) for page in (1, 2)]
    for reply in images:
        assert reply.status_code == 200 and reply.headers["content-type"] == "image/png"
        check_png(reply.content)
        assert int.from_bytes(reply.content[16:20], "big") == pytest.approx(600, abs=2)
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert images[0].content != images[1].content
    assert client.get("/v1/pages/crane.pdf", params={"page": 1, "width": 600}).content == images[0].content


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("crane.pdf?page=3", 404),
        ("crane.pdf?page=0", 422),
        ("crane.pdf?width=10000", 422),
        ("quay.html", 404),
        ("none.pdf", 404),
    ],
)
def test_what_cannot_be_drawn_is_refused(serve, path, status):
    reply = serve().get(f"/v1/pages/{path}")
    assert reply.status_code == status and reply.json()["error"]["message"]


def test_a_damaged_original_is_an_error_and_not_a_failure(serve, index):
    index.original("crane.pdf").path.write_bytes(b"%PDF-1.4 nothing")
    reply = serve().get("/v1/pages/crane.pdf")
    assert reply.status_code == 422 and "not a readable PDF" in reply.text


def test_a_page_that_takes_too_long_is_given_up(serve):
    reply = serve(page_seconds=0.01).get("/v1/pages/crane.pdf")
    assert reply.status_code in (422, 503) and "within" in reply.text


def test_without_originals_there_is_only_text(serve, folder, tmp_path):
    index = Index.build(folder, tmp_path / "bare", embedder=HashingEmbedder(), progress=False)
    client = serve(index=index)
    for route in ("pages", "originals", "links"):
        reply = client.get(f"/v1/{route}/crane.pdf")
        assert reply.status_code == 404 and "--keep-originals" in reply.text
    assert {entry["original"] for entry in client.get("/v1/documents").json()["documents"]} == {None}


def test_the_file_itself_is_downloaded_with_a_token_and_opened_by_a_link(serve, folder):
    client = serve()
    entries = client.get("/v1/documents").json()["documents"]
    assert {entry["id"]: entry["original"] for entry in entries}["crane.pdf"] == "pages"
    assert {entry["id"]: entry["original"] for entry in entries}["quay.html"] == "file"
    reply = client.get("/v1/originals/crane.pdf")
    assert reply.content == (folder / "crane.pdf").read_bytes()
    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''crane.pdf"
    shown = client.get(client.get("/v1/links/crane.pdf").json()["path"])
    assert shown.content == reply.content and shown.headers["content-type"] == "application/pdf"
    assert shown.headers["content-disposition"].startswith("inline")


def test_a_web_page_runs_nothing_and_text_keeps_its_encoding(serve):
    client = serve()
    page = client.get(client.get("/v1/links/quay.html").json()["path"])
    assert page.content == HTML and page.headers["content-type"] == "text/html"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("sandbox;") and "default-src 'none'" in policy and "script" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    text = client.get(client.get("/v1/links/übung.txt").json()["path"])
    assert text.headers["content-type"] == "text/plain; charset=cp1252"
    assert "%C3%BCbung.txt" in text.headers["content-disposition"]


def test_hidden_documents_have_neither_pages_nor_files(serve, tmp_path):
    path = tmp_path / "tokens.toml"
    groups = {"a": "staff", "b": "board"}
    tokens = {name: add_token(path, name, groups=[group], rights="read") for name, group in groups.items()}
    client = serve(tokens=path)
    heads = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
    for route in ("pages", "originals", "links"):
        hidden = client.get(f"/v1/{route}/board/merger.pdf", headers=heads["a"])
        missing = client.get(f"/v1/{route}/board/nothing.pdf", headers=heads["a"])
        assert hidden.status_code == 404
        assert hidden.text.replace("merger", "nothing") == missing.text
        assert client.get(f"/v1/{route}/board/merger.pdf", headers=heads["b"]).status_code == 200
        assert client.get(f"/v1/{route}/board/merger.pdf").status_code == 401


def test_a_link_ends_with_its_minute_and_with_the_right(serve, index, tmp_path, monkeypatch):
    path = tmp_path / "tokens.toml"
    token = add_token(path, "b", groups=["board"], rights="read")
    client = serve(tokens=path)
    head = {"authorization": f"Bearer {token}"}
    link = client.get("/v1/links/board/merger.pdf", headers=head).json()["path"]
    assert client.get(link).status_code == 200
    assert client.get("/original/made-up").status_code == 404
    monkeypatch.setattr(tickets, "TICKET_S", -1.0)
    link = client.get("/v1/links/board/merger.pdf", headers=head).json()["path"]
    assert client.get(link).status_code == 404


def test_an_upload_is_kept_only_where_the_server_was_started_so_and_removed_with_it(serve, index):
    file = {"file": ("new.pdf", a_pdf("The lock opens at noon."))}
    client = serve()
    client.post("/v1/documents", files=file)
    assert client.get("/v1/pages/new.pdf").status_code == 404
    client = serve(keep_originals=True)
    client.post("/v1/documents", params={"replace": True}, files=file)
    assert client.get("/v1/pages/new.pdf").status_code == 200
    kept = [*(index.path / "originals").iterdir()]
    client.delete("/v1/documents/new.pdf")
    assert client.get("/v1/pages/new.pdf").status_code == 404
    assert len([*(index.path / "originals").iterdir()]) == len(kept) - 1
