"""Two servers over one index behind HAProxy: the files that compose uses, run as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import yaml
from data import write_little_world

from rag_ft.indexing.index import Index

ROOT = Path(__file__).parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
TOKEN = "a-token-for-two-replicas"
QUESTION = {"question": "How high is the tower of Oslo?"}


class Replicas(NamedTuple):
    """Two servers, their processes, and the address in front of them."""

    address: Callable[[], httpx.Client]
    """A new client of the proxy: without the cookies of another."""
    clients: dict[str, httpx.Client]
    """A client of each server, past the proxy."""
    processes: dict[str, subprocess.Popen[bytes]]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(done: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if done():
                return
        time.sleep(0.1)
    raise AssertionError(f"{what} within {seconds} seconds")


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, tiny_llama_dir: Path) -> Iterator[Replicas]:
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if haproxy is None:
        pytest.skip("there is no haproxy: apt-get install haproxy")
    folder = write_little_world(tmp_path_factory.mktemp("replicas"))
    Index.build(folder / "docs", folder / "index", progress=False)
    ports = {name: _free_port() for name in ("address", "one", "two")}
    serve = [sys.executable, "-m", "rag_ft", "serve", "--index", folder / "index", "--reader", tiny_llama_dir]
    # In the words of compose.yaml, with addresses of this machine.
    own = COMPOSE["services"]["one"]["environment"] | {"RAG_FT_TOKEN": TOKEN}
    proxy = {name: f"127.0.0.1:{ports[port]}" for name, port in zip(PROXY, ("address", "one", "two"), strict=True)}
    with contextlib.ExitStack() as stack:

        def run(command: list[object], environment: dict[str, str]) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(list(map(str, command)), env={**os.environ, **environment})
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        def client(port: int) -> httpx.Client:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            return stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60))

        processes = {name: run([*serve, "--port", ports[name]], own) for name in ("one", "two")}
        processes["proxy"] = run([haproxy, "-f", ROOT / "haproxy.cfg"], proxy)
        made = Replicas(
            lambda: client(ports["address"]), {name: client(ports[name]) for name in ("one", "two")}, processes
        )
        for one in made.clients.values():
            _wait(lambda one=one: one.get("/readyz").status_code == 200, 180, "the server came up")
        _wait(lambda: _answering(made, 12) == {"one", "two"}, 30, "the proxy knew both")
        yield made


PROXY = ("RAG_FT_LISTEN", "RAG_FT_ONE", "RAG_FT_TWO")


def _answering(replicas: Replicas, questions: int) -> set[str]:
    """Names of the servers that questions of new clients reach."""
    reached = set()
    for _ in range(questions):
        reply = replicas.address().get("/v1/about")
        if reply.status_code == 200:
            reached.add(reply.cookies["replica"])
    return reached


def test_compose_gives_the_proxy_the_addresses_of_both_replicas_and_a_replica_all_it_needs():
    from rag_ft.serving.config import ServeConfig

    services = COMPOSE["services"]
    assert services["one"] == services["two"] and services["one"]["build"]["dockerfile"] == "Containerfile"
    assert set(services["proxy"]["environment"]) == set(PROXY)
    assert {services["proxy"]["environment"][name].split(":")[0] for name in PROXY[1:]} == set(services) - {"proxy"}
    lines = (ROOT / "Containerfile").read_text().splitlines()
    (exposed,) = [line.split()[1] for line in lines if line.startswith("EXPOSE")]
    assert services["proxy"]["environment"]["RAG_FT_ONE"] == f"one:{exposed}"
    (volume,) = services["one"]["volumes"]
    assert f"VOLUME {volume.rpartition(':')[2]}" in lines
    assert ServeConfig(host="0.0.0.0", token=TOKEN).needs_token and "RAG_FT_TOKEN" in services["one"]["environment"]
    assert all(f'"${{{name}}}"' in (ROOT / "haproxy.cfg").read_text() for name in PROXY)


@pytest.mark.slow
def test_a_browser_stays_with_one_replica_and_clients_without_cookies_are_spread(replicas):
    browser = replicas.address()
    first = browser.get("/v1/about").cookies["replica"]
    assert all("replica" not in browser.get("/v1/about").cookies for _ in range(4))
    other = next(client for name, client in replicas.clients.items() if name != first)
    before = other.get("/metrics").text
    assert browser.post("/v1/ask", json=QUESTION).status_code == 200
    assert _answers(other.get("/metrics").text) == _answers(before)


def _answers(metrics: str) -> list[str]:
    return [line for line in metrics.splitlines() if line.startswith("rag_ft_answers")]


@pytest.mark.slow
def test_a_document_added_through_the_address_is_answered_from_by_both(replicas):
    crane = b"The harbour crane of Bergen lifts forty-two tonnes."
    assert replicas.address().post("/v1/documents", files={"file": ("crane.txt", crane)}).status_code == 201
    started = time.monotonic()
    for name, client in replicas.clients.items():

        def answers(client: httpx.Client = client) -> bool:
            reply = client.post("/v1/ask", json={"question": "What does the harbour crane of Bergen lift?"}).json()
            return "crane.txt" in str(reply)

        _wait(answers, 15, f"{name} answered from the document")
    assert time.monotonic() - started < 20


@pytest.mark.slow
def test_questions_go_on_while_a_replica_is_killed(replicas):
    """The last test: the replica stays dead."""
    statuses: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            statuses.append(replicas.address().post("/v1/ask", json=QUESTION).status_code)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    _wait(lambda: len(statuses) >= 8, 60, "questions were answered")
    replicas.processes["one"].send_signal(signal.SIGKILL)
    killed = len(statuses)
    _wait(lambda: len(statuses) >= killed + 12, 60, "questions went on")
    ended.set()
    for asker in askers:
        asker.join(60)
    assert set(statuses) == {200}
    assert _answering(replicas, 4) == {"two"}
