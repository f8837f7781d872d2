"""A server under load: eight clients, then one, each asking one question after another.

    python benchmarks/serving_load.py [--seconds 300] [--clients 8]

Starts `rag-ft serve` on the bundled handbook in a process of its own, asks the handbook's questions (each client in
another order), and tells throughput, latencies, errors, and the server's memory every half minute. Every question is
asked once before, so that what the server keeps of passages read before favours nobody.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions


def serve(index: Path, arguments: list[str]) -> tuple[subprocess.Popen, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "rag_ft", "serve", "--index", str(index), "--port", str(port), *arguments]
    )
    address = f"http://127.0.0.1:{port}"
    while True:
        try:
            if httpx.get(address + "/readyz").status_code == 200:
                return process, address
        except httpx.TransportError:
            time.sleep(0.2)


def load(address: str, clients: int, seconds: float, questions: list[str], process: psutil.Process) -> dict:
    """Every client asks until the time is over; a client's first question is not counted."""
    until = time.monotonic() + seconds
    latencies: list[float] = []
    statuses: dict[str, int] = {}
    memory: list[int] = []

    def client(seed: int) -> None:
        order = random.Random(seed).sample(questions, len(questions))
        with httpx.Client(base_url=address, timeout=120) as own:
            own.post("/v1/ask", json={"question": order[-1]})
            number = 0
            while time.monotonic() < until:
                begin = time.monotonic()
                status = own.post("/v1/ask", json={"question": order[number % len(order)]}).status_code
                latencies.append(time.monotonic() - begin)
                statuses[str(status)] = statuses.get(str(status), 0) + 1
                number += 1

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(clients)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if len(memory) <= (time.monotonic() - begin) / 30:
            memory.append(process.memory_info().rss)
        time.sleep(0.5)
    took = time.monotonic() - begin
    memory.append(process.memory_info().rss)
    cut = statistics.quantiles(latencies, n=100)
    return {
        "clients": clients,
        "seconds": round(took, 1),
        "questions": len(latencies),
        "questions_per_second": round(len(latencies) / took, 3),
        "p50_seconds": round(cut[49], 2),
        "p95_seconds": round(cut[94], 2),
        "statuses": statuses,
        "memory_mb_every_30_s": [round(one / 1e6) for one in memory],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="with all clients; one client has a fifth of it")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--serve", nargs="*", default=[], help="more arguments of rag-ft serve, without their dashes")
    given = parser.parse_args()
    questions = [one.question for one in read_questions(handbook_path() / "questions.jsonl")]
    with tempfile.TemporaryDirectory() as folder:
        Index.build(handbook_path(), Path(folder) / "index", progress=False)
        process, address = serve(Path(folder) / "index", [f"--{one}" for one in given.serve])
        try:
            with ThreadPoolExecutor(given.clients) as pool:
                list(
                    pool.map(
                        lambda one: httpx.post(address + "/v1/ask", json={"question": one}, timeout=120), questions
                    )
                )
            seen = psutil.Process(process.pid)
            many = load(address, given.clients, given.seconds, questions, seen)
            print(json.dumps(many), flush=True)
            one = load(address, 1, given.seconds / 5, questions, seen)
            print(json.dumps(one), flush=True)
            ratio = many["questions_per_second"] / one["questions_per_second"]
            print(f"throughput of {given.clients} clients: {ratio:.2f} times that of one")
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
