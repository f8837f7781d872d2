import socket
import threading
import time

import httpx
import pytest

from rag_ft.errors import RagFtError
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.http import listening
from rag_ft.serving.http.listening import bind, run_server


async def hello(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def test_the_address_is_reported_once_it_answers(monkeypatch):
    servers, urls = [], []

    class Noted(listening.AnnouncingServer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            servers.append(self)

    monkeypatch.setattr(listening, "AnnouncingServer", Noted)
    with bind("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=run_server, args=(hello, ServeConfig(), bound, urls.append))
        thread.start()
        until = time.monotonic() + 30
        while not urls and time.monotonic() < until:
            time.sleep(0.01)
        port = bound.getsockname()[1]
        assert urls == [f"http://127.0.0.1:{port}"]
        reply = httpx.get(urls[0])
        assert reply.text == "hello" and "server" not in reply.headers
        servers[0].should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def test_an_address_in_use_is_one_sentence():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RagFtError, match=f"cannot listen at 127.0.0.1:{port} .*give another --port or --host"):
            bind("127.0.0.1", port)


def test_a_host_that_is_nowhere_is_one_sentence():
    with pytest.raises(RagFtError, match=r"cannot listen at no\.such\.host\.invalid:8000"):
        bind("no.such.host.invalid", 8000)
