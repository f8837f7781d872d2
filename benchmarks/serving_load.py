"""A server under load: eight clients, then one, each asking one question after another; beside llama.cpp's server.

    python benchmarks/serving_load.py [--seconds 300] [--clients 8] [--rounds 1] [--questions N] [--peer PROGRAM]

Starts `rag-ft serve` on the bundled handbook in a process of its own, asks the handbook's questions (each client in
another order), and tells throughput, latencies, errors, the server's processor time a question, and its memory every
half minute. Every question is asked once before, so that what the server keeps of passages read before favours nobody.

`--peer` also starts llama.cpp's server, `build/bin/llama-server`, with the packaged reader, merged and in Q8_0, and as
many slots as there are clients. It gets the same questions with the passages that the index finds for them, in the same
chat messages, and writes greedily under the JSON schema of a completion. It searches nothing and checks nothing. Its
cache of earlier prompts is off, since that would hold the very prompts that are asked again; each slot keeps its last
one. Both servers have the same number of threads (OMP_NUM_THREADS; on a busy machine 1, since two wait for each other),
and take turns in each round. The ratios of both follow. The source of llama.cpp comes with its Python package:

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python && tar xzf llama_cpp_python-*.tar.gz
    cmake -S llama_cpp_python-*/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_UI=OFF \\
        -DLLAMA_USE_PREBUILT_UI=OFF
    cmake --build build --target llama-server
"""

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from rag_ft.adapters.export import export_adapter
from rag_ft.answering.completion import SCHEMA
from rag_ft.answering.prompt import chat_messages
from rag_ft.benchmarking.asking import MOST_TOKENS
from rag_ft.benchmarking.comparison import percentile
from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index
from rag_ft.models.compute import compute_plan
from rag_ft.questions.records import read_questions
from rag_ft.training.scoring import retrieved_requests

OURS, PEER = "rag_ft", "llama.cpp"
SLOT_TOKENS = 2048


class Server(NamedTuple):
    """A server in a process of its own, and how it is asked."""

    process: subprocess.Popen
    address: str
    path: str
    body: Callable[[str], dict[str, Any]]
    """The request for a question."""

    def ask(self, client: httpx.Client, question: str) -> int:
        """The status of its reply."""
        return client.post(self.path, json=self.body(question)).status_code

    def processor_seconds(self) -> float:
        """What its process and those below it have used."""
        top = psutil.Process(self.process.pid)
        spent = [one.cpu_times() for one in (top, *top.children(recursive=True))]
        return sum(one.user + one.system for one in spent)


def started(command: list[str], ready: str) -> tuple[subprocess.Popen, str]:
    """A server that listens on a free port, which is added to its command; `ready`: the path that says so."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*command, "--port", str(port)])
    address = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            if httpx.get(address + ready).status_code == 200:
                return process, address
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{command[0]} ended with {process.returncode} before it was ready")


def our_server(index: Path, arguments: list[str]) -> Server:
    command = [sys.executable, "-m", "rag_ft", "serve", "--index", str(index), *arguments]
    return Server(*started(command, "/readyz"), "/v1/ask", lambda question: {"question": question})


def llama_server(program: Path, folder: Path, clients: int, questions: list[str]) -> Server:
    """llama.cpp's server with the packaged reader, and the requests with the passages of each question."""
    requests = retrieved_requests(questions, Index.load(folder / "index"), k=3)
    bodies = {
        request.question: {
            "messages": [
                {"role": role, "content": text} for role, text in chat_messages(request.question, request.passages)
            ],
            "temperature": 0,
            "max_tokens": MOST_TOKENS,
            "response_format": {"type": "json_object", "schema": SCHEMA},
        }
        for request in requests
    }
    export_adapter("packaged", folder / "reader.gguf", format="gguf-q8_0", probes=requests[:1])
    threads = str(compute_plan("cpu").threads)
    options = {"-m": folder / "reader.gguf", "-np": clients, "-c": clients * SLOT_TOKENS, "-t": threads, "-tb": threads}
    command = [str(program), *(str(part) for option in options.items() for part in option)]
    return Server(
        *started([*command, "--cache-ram", "0", "--log-disable"], "/health"), "/v1/chat/completions", bodies.__getitem__
    )


def load(server: Server, clients: int, seconds: float, questions: list[str]) -> dict[str, Any]:
    """Every client asks until the time is over; a client's first question is not counted."""
    latencies: list[float] = []
    statuses: dict[str, int] = {}
    memory: list[int] = []
    process = psutil.Process(server.process.pid)
    together = threading.Barrier(clients + 1)

    def client(seed: int) -> None:
        order = random.Random(seed).sample(questions, len(questions))
        with httpx.Client(base_url=server.address, timeout=600) as own:
            server.ask(own, order[-1])
            together.wait()
            until = time.monotonic() + seconds
            number = 0
            while time.monotonic() < until:
                begin = time.monotonic()
                status = server.ask(own, order[number % len(order)])
                latencies.append(time.monotonic() - begin)
                statuses[str(status)] = statuses.get(str(status), 0) + 1
                number += 1

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    together.wait()
    begin, spent = time.monotonic(), server.processor_seconds()
    while any(thread.is_alive() for thread in threads):
        if len(memory) <= (time.monotonic() - begin) / 30:
            memory.append(process.memory_info().rss)
        time.sleep(0.5)
    took, spent = time.monotonic() - begin, server.processor_seconds() - spent
    memory.append(process.memory_info().rss)
    return {
        "clients": clients,
        "seconds": round(took, 1),
        "questions": len(latencies),
        "questions_per_second": round(len(latencies) / took, 3),
        "processor_seconds_per_question": round(spent / len(latencies), 3),
        "p50_seconds": round(percentile(latencies, 50), 2),
        "p95_seconds": round(percentile(latencies, 95), 2),
        "statuses": statuses,
        "memory_mb_every_30_s": [round(one / 1e6) for one in memory],
    }


def ask_all(server: Server, clients: int, questions: list[str]) -> None:
    """Ask every question once."""
    with httpx.Client(base_url=server.address, timeout=600) as client, ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda question: server.ask(client, question), questions))


def ratio(what: str, over: list[float], under: list[float]) -> str:
    """A ratio of medians, with the smallest and the largest of a round."""
    rounds = [one / other for one, other in zip(over, under, strict=True)]
    middle = statistics.median(over) / statistics.median(under)
    return f"{what}: {middle:.2f} ({min(rounds):.2f} to {max(rounds):.2f})"


def ratios(runs: dict[tuple[str, int], list[dict[str, Any]]], most: int) -> list[str]:
    """Several clients over one for each server, then llama.cpp over this one."""

    def figures(server: str, clients: int, name: str) -> list[float]:
        return [run[name] for run in runs[server, clients]]

    servers = list(dict.fromkeys(server for server, _ in runs))
    throughput = "questions_per_second"
    lines = [
        ratio(
            f"{one}: throughput of {most} clients to that of one",
            figures(one, most, throughput),
            figures(one, 1, throughput),
        )
        for one in servers
    ]
    if PEER in servers:
        for clients in (most, 1):
            for name in (throughput, "processor_seconds_per_question", "p50_seconds", "p95_seconds"):
                both = [figures(server, clients, name) for server in (PEER, OURS)]
                over, under = both[::-1] if name == throughput else both
                lines.append(ratio(f"{clients} clients, {name}, times better than {PEER}", over, under))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="with all clients, a round; one client has a fifth")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--questions", type=int, help="how many of the handbook's; default: all")
    parser.add_argument("--peer", type=Path, help="llama.cpp's program llama-server")
    parser.add_argument("--serve", nargs="*", default=[], help="more arguments of rag-ft serve, without their dashes")
    given = parser.parse_args()
    questions = [one.question for one in read_questions(handbook_path() / "questions.jsonl")]
    questions = random.Random(0).sample(questions, given.questions or len(questions))
    servers: dict[str, Server] = {}
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Index.build(handbook_path(), folder / "index", progress=False)
        try:
            if given.peer is not None:
                servers[PEER] = llama_server(given.peer, folder, given.clients, questions)
            servers[OURS] = our_server(folder / "index", [f"--{one}" for one in given.serve])
            for server in servers.values():
                ask_all(server, given.clients, questions)
            order = list(servers)
            for _ in range(given.rounds):
                order.reverse()
                for clients, seconds in ((given.clients, given.seconds), (1, given.seconds / 5)):
                    for one in order:
                        run = load(servers[one], clients, seconds, questions)
                        runs.setdefault((one, clients), []).append(run)
                        print(json.dumps({"server": one, **run}), flush=True)
        finally:
            for server in servers.values():
                server.process.terminate()
                server.process.wait()
    print("\n".join(ratios(runs, given.clients)))


if __name__ == "__main__":
    main()
