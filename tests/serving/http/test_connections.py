import contextlib
import socket
import time

import httpx
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from rag_ft.serving.app import create_app
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.http.connections import TimedHeadProtocol

from ..conftest import served


class Hasty(TimedHeadProtocol):
    head_seconds = 0.4


@pytest.fixture
def address(index, tiny_reader):
    with served(create_app(index, tiny_reader, ServeConfig()), http=Hasty) as address:
        yield address


@contextlib.contextmanager
def connected(address):
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port)) as wire:
        wire.settimeout(10)
        yield wire


def hung_up_after(wire, pieces=()):
    """Seconds until the server closes, fed a piece every tenth of a second."""
    begin = time.monotonic()
    wire.settimeout(0.1)
    waiting = iter(pieces)
    while time.monotonic() - begin < 10:
        with contextlib.suppress(TimeoutError):
            try:
                if wire.recv(4096) == b"":
                    return time.monotonic() - begin
            except ConnectionResetError:
                return time.monotonic() - begin
        with contextlib.suppress(OSError):
            wire.sendall(next(waiting, b""))
    raise AssertionError("the server kept the connection")


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_head_that_comes_a_byte_at_a_time_is_hung_up_on(address, first):
    with connected(address) as wire:
        wire.sendall(first)
        assert hung_up_after(wire, [b"X"] * 90) < 5


def test_so_is_one_on_a_connection_that_was_kept(address):
    with connected(address) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.recv(4096).startswith(b"HTTP/1.1 200")
        wire.sendall(b"GET /hea")
        assert hung_up_after(wire, [b"l"] * 90) < 5


@pytest.mark.parametrize("announced", [1, 1000])
def test_nor_may_a_body_that_nobody_waits_for_keep_one(address, announced):
    """uvicorn answers before such a body is there, and stops its clock for idle ones at the body's first byte."""
    with connected(address) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % announced)
        assert wire.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(0.1)
        wire.sendall(b"x")
        assert hung_up_after(wire) < 5


def test_a_body_and_an_answer_may_take_longer_than_a_head(address):
    with connected(address) as wire:
        wire.sendall(b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n{")
        for piece in (b"x", b"}"):
            time.sleep(0.5)
            wire.sendall(piece)
        assert wire.recv(4096).startswith(b"HTTP/1.1 4")


def test_kept_connections_serve_many_requests(address):
    with httpx.Client(base_url=address) as client:
        for _ in range(4):
            assert client.get("/healthz").status_code == 200
            time.sleep(0.3)


def test_without_the_limit_such_a_client_would_hold_its_connection(index, tiny_reader):
    with (
        served(create_app(index, tiny_reader, ServeConfig()), http=H11Protocol) as address,
        connected(address) as wire,
    ):
        wire.sendall(b"GET /heal")
        wire.settimeout(1)
        with pytest.raises(TimeoutError):
            wire.recv(1)
