"""A little index and a tiny model behind a real server on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from data import little_world
from fakes import HashingEmbedder

from rag_ft.answering.reader import Reader
from rag_ft.indexing.index import Index
from rag_ft.models.compute import compute_plan
from rag_ft.models.loading import load_model
from rag_ft.serving.app import create_app
from rag_ft.serving.config import ServeConfig


@pytest.fixture(scope="session")
def tiny_reader(tiny_llama_dir: Path) -> Reader:
    return Reader(load_model(str(tiny_llama_dir), plan=compute_plan("cpu")), threshold=0.0)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    documents, _ = little_world()
    return Index.build(documents, tmp_path / "index", embedder=HashingEmbedder(), progress=False)


@contextlib.contextmanager
def served(app: Any, **options: Any) -> Iterator[str]:
    """A real server in a thread; its address."""
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", **options))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert not thread.is_alive(), "the server did not go down"


@pytest.fixture
def serve(request: pytest.FixtureRequest, tiny_reader: Reader) -> Iterator[Callable[..., httpx.Client]]:
    """Start a server with settings; gives a client of it."""
    with contextlib.ExitStack() as stack:

        def start(
            reader: Reader | None = None,
            slow_s: float = 0.0,
            released: threading.Event | None = None,
            index: Index | None = None,
            **settings: Any,
        ) -> httpx.Client:
            """A batch takes `slow_s` longer, or begins once `released` is set."""
            index = index or request.getfixturevalue("index")
            app = create_app(index, reader or tiny_reader, ServeConfig(**settings))
            if slow_s or released:
                run = app.state.server.batcher._run

                def slowly(*arguments: Any) -> Any:
                    time.sleep(slow_s)
                    assert released is None or released.wait(60)
                    return run(*arguments)

                app.state.server.batcher._run = slowly
            client = stack.enter_context(httpx.Client(base_url=stack.enter_context(served(app)), timeout=60))
            client.app = app  # type: ignore[attr-defined]
            return client

        yield start
