"""A server to attack: a process of its own on this machine's own address, over an index that is thrown away.

With models "tiny" a two-layer random reader and words hashed to vectors stand in for the real ones, so that the server
and not the model is what keeps the processors busy; with "default" it is `rag-ft serve` as users start it.

    python benchmarks/attacks/little_server.py serve INDEX     (the attacks start it themselves)
    python benchmarks/attacks/little_server.py build INDEX     (builds from the folder named in each line of stdin)
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))  # the stand-ins are those of the tests

PASSAGE_CACHE_MB = 16
"""Small, so that it is full soon: what is measured after that is growth."""


@dataclass
class LittleServer:
    address: str
    process: subprocess.Popen
    log: Path
    """What it wrote to stderr."""

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def complaints(self) -> list[str]:
        """Lines of its log that tell of something that went wrong."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        words = ("Traceback", "Error", "ERROR", "Exception", "unexpected", "failed")
        return [line for line in lines if any(word in line for word in words)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


@contextlib.contextmanager
def little_server(
    index: Path, folder: Path, *, models: str = "tiny", options: dict | None = None
) -> Iterator[LittleServer]:
    """A server over an index, ready to be asked; `options` are fields of `ServeConfig` (tiny models only)."""
    log = folder / "server.log"
    if models == "tiny":
        command = [sys.executable, __file__, "serve", str(index), json.dumps(options or {})]
    else:
        command = [sys.executable, "-m", "rag_ft", "serve", "--index", str(index), "--port", "0"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stderr, stderr=stderr, env=environment())
    try:
        yield LittleServer(_address(process, log), process, log)
    finally:
        process.terminate()
        process.wait(150)


def _address(process: subprocess.Popen, log: Path) -> str:
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("serving at "):
                address = line.removeprefix("serving at ").strip()
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{address}/readyz", timeout=60).status_code == 200:
                        return address
        time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{log.read_text(errors='replace')}")


class Builder:
    """Another process that builds the index whenever it is told to."""

    def __init__(self, index: Path, models: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "build", str(index), models],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def build(self, source: Path) -> str:
        """The fingerprint of the index after a build from a folder."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{source}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {"error": "the building process has ended"}
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["fingerprint"]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def _embedder(models: str):
    from fakes import HashingEmbedder

    return HashingEmbedder() if models == "tiny" else "default"


def _build(index: Path, models: str) -> None:
    from rag_ft.indexing.embedding import load_embedder
    from rag_ft.indexing.index import Index

    embedder = _embedder(models)
    if isinstance(embedder, str):
        embedder = load_embedder(embedder)
    for line in sys.stdin:
        try:
            made = Index.build(Path(line.rstrip("\n")), index, embedder=embedder, progress=False, lock_timeout_s=60)
            reply = {"fingerprint": made.fingerprint}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


def _serve(index: Path, options: dict) -> None:
    from tiny_llama import make_tiny_llama

    from rag_ft.answering.reader import Reader
    from rag_ft.indexing.index import Index
    from rag_ft.models.compute import compute_plan
    from rag_ft.models.loading import load_model
    from rag_ft.serving.app import create_app
    from rag_ft.serving.config import ServeConfig
    from rag_ft.serving.engine import keep_memory
    from rag_ft.serving.http.listening import bind, run_server
    from rag_ft.serving.threads import in_ending_thread

    def load() -> tuple[Index, Reader]:
        with tempfile.TemporaryDirectory() as folder:
            model = load_model(str(make_tiny_llama(Path(folder))), plan=compute_plan("cpu"))
        reader = Reader(model, threshold=0.0, passage_cache_mb=PASSAGE_CACHE_MB)
        return Index.load(index, embedder=_embedder("tiny")), reader

    keep_memory()
    config = ServeConfig(**options)
    app = create_app(*in_ending_thread(load), config)
    with bind("127.0.0.1", 0) as bound:
        run_server(app, config, bound, lambda url: print(f"serving at {url}", flush=True))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(Path(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        _build(Path(sys.argv[2]), sys.argv[3])
