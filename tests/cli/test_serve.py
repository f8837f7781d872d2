"""`rag-ft serve` as a process, with the real models: what it says, how it goes down, what a kill leaves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tiny_adapters import make_adapter
from typer.testing import CliRunner

from rag_ft.cli import app
from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index


@pytest.fixture
def built(tmp_path: Path) -> Path:
    Index.build(handbook_path() / "kbit-preparation.md", tmp_path / "index", progress=False)
    return tmp_path / "index"


@pytest.fixture
def start(built: Path) -> Iterator:
    processes: list[subprocess.Popen[str]] = []
    clients: list[httpx.Client] = []

    def run(*arguments: str) -> tuple[subprocess.Popen[str], httpx.Client]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "rag_ft", "serve", "--index", str(built), "--port", str(port), *arguments],
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        clients.append(client)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            with contextlib.suppress(httpx.TransportError):
                if client.get("/readyz").status_code == 200:
                    return process, client
            time.sleep(0.1)
        raise AssertionError("the server did not come up")

    yield run
    for client in clients:
        client.close()
    for process in processes:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "a token is required"),
        (["--port", "70000"], "port"),
        (["--with-adapter", "noname"], "NAME=FOLDER"),
        (["--with-adapter", "one=a", "--with-adapter", "one=b"], "'one' twice"),
        (["-k", "30"], "k is 30, more than the 20"),
        (["--report", "nothing.html"], "there is no report"),
        (["--max-upload-mb", "inf"], "--max-upload-mb is inf"),
        (["--max-upload-mb", "nan"], "--max-upload-mb is nan"),
        (["--deadline", "inf"], "finite"),
    ],
)
def test_wrong_calls_are_said_before_anything_is_loaded(tmp_path, arguments, message):
    result = CliRunner().invoke(app, ["serve", "--index", str(tmp_path / "none"), *arguments])
    assert message in str(result.exception)


def test_a_port_in_use_is_one_sentence_before_anything_is_loaded(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = CliRunner().invoke(app, ["serve", "--index", str(tmp_path / "none"), "--port", str(port)])
    assert f"cannot listen at 127.0.0.1:{port}" in str(result.exception) and "--port" in str(result.exception)


def test_a_missing_index_is_said(tmp_path):
    result = CliRunner().invoke(app, ["serve", "--index", str(tmp_path / "none")])
    assert "there is no index" in str(result.exception)


def test_an_adapter_of_another_base_is_said_before_it_listens(built, tiny_llama_dir, tmp_path):
    folder = make_adapter(tmp_path / "adapter", tiny_llama_dir, 1)
    record = json.loads((folder / "rag_ft.json").read_text())
    record["base_model"] = {"name": "another", "identity": "f" * 64, "bits": 32}
    (folder / "rag_ft.json").write_text(json.dumps(record))
    call = ["serve", "--index", str(built), "--reader", str(tiny_llama_dir), "--with-adapter", f"mine={folder}"]
    result = CliRunner().invoke(app, call)
    assert "was trained on another" in str(result.exception) and str(folder) in str(result.exception)


@pytest.mark.slow
def test_sigterm_answers_what_was_asked_and_then_ends(start):
    process, client = start()
    replies: list[httpx.Response] = []
    question = {"question": "What does gradient checkpointing cost?"}
    threads = [threading.Thread(target=lambda: replies.append(client.post("/v1/ask", json=question))) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert [reply.status_code for reply in replies] == [200] * 4
    assert process.wait(30) in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_a_kill_in_an_upload_loses_nothing_and_leaves_nothing_half(start, built):
    before = set(os.listdir(built))
    process, client = start()
    text = "\n\n".join(
        f"Paragraph {n} of the long report says that item {n * 7} costs {n * 3} euro." for n in range(3000)
    )

    def upload() -> None:
        try:
            client.post("/v1/documents", files={"file": ("report.txt", text.encode())})
        except httpx.TransportError:
            pass  # the server is killed meanwhile

    thread = threading.Thread(target=upload)
    thread.start()
    time.sleep(4)  # in the middle of embedding
    process.kill()
    thread.join()
    index = Index.load(built, verify="full")
    assert list(index.documents()) == ["kbit-preparation.md"]
    _, again = start()
    assert again.post("/v1/ask", json={"question": "What does gradient checkpointing cost?"}).status_code == 200
    uploaded = again.post("/v1/documents", files={"file": ("small.txt", b"The crane lifts forty tonnes.")})
    assert uploaded.status_code == 201, uploaded.text
    assert before <= set(os.listdir(built))
    assert Index.load(built).verify().ok
