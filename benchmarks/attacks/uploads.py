"""Uploads and removals that are killed, and such on a full disk: nothing lost, nothing left, the server goes on.

    python benchmarks/attacks/uploads.py [--kills 20] [--disks 40] [--seed 0]

A kill (SIGKILL) comes at a random time after an upload was sent; then another server is started over the same index.
The full disk is a tmpfs of 3 MB, which takes root to mount; without, that part is left out, and said so. The journal of
a build that was killed stays until the next change, because a build would go on with it.
"""

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
from little_server import Builder, little_server
from table import Tally, show

DOCUMENTS = 12


def prepared(folder: Path, index: Path) -> None:
    (folder / "documents").mkdir()
    for number in range(DOCUMENTS):
        text = f"# Beacon {number}\n\nThe signal word of beacon {number} is sig{number}.\n"
        (folder / "documents" / f"beacon-{number:02d}.md").write_text(text)
    builder = Builder(index, "tiny")
    builder.build(folder / "documents")
    builder.close()


def text_of(words: int, rng: random.Random) -> bytes:
    return "\n\n".join(f"Guest {rng.randrange(10**6)} is word {number}." for number in range(words // 5)).encode()


def strays(index: Path, *, journal: bool) -> list[str]:
    """What lies beside the one generation that the index has."""
    from rag_ft.indexing.index import Index

    committed = Index.load(index).manifest.generation
    kept = {"manifest.json", "generations", ".lock", ".rag-ft-index"} | ({".journal"} if journal else set())
    names = [entry.name for entry in index.iterdir() if entry.name not in kept]
    return names + [entry.name for entry in (index / "generations").iterdir() if entry.name != committed]


def problem_of(index: Path, before: set[str], sent: set[str]) -> str | None:
    """What is wrong with an index to which documents were sent; what lies beside it is not looked at."""
    from fakes import HashingEmbedder

    from rag_ft.indexing.index import Index

    found = Index.load(index, embedder=HashingEmbedder(), verify="full")
    names = set(found.documents())
    if not before <= names <= before | sent:
        return f"documents are {sorted(names)}"
    wrong = [check for check in found.verify().checks if not check.ok and check.name != "leftovers"]
    return str(wrong) if wrong else None


def kills(count: int, rng: random.Random) -> list[Tally]:
    whole, left, later = Tally("uploads killed: index whole"), Tally("... nothing left"), Tally("... works afterwards")
    with tempfile.TemporaryDirectory() as scratch:
        folder, index = Path(scratch), Path(scratch) / "index"
        prepared(folder, index)
        before = {f"beacon-{number:02d}.md" for number in range(DOCUMENTS)}
        took = 0.0
        for number in range(count + 1):
            with little_server(index, folder) as server:
                name = f"guest-{number}.txt"
                if number:  # what the kill before has left is to be gone by now
                    until = time.monotonic() + 20
                    while strays(index, journal=True) and time.monotonic() < until:
                        time.sleep(0.1)
                    found = strays(index, journal=True)
                    left.failed(str(found)) if found else left.held()
                    reply = httpx.post(
                        f"{server.address}/v1/documents", files={"file": ("again.txt", b"Some words.")}, timeout=120
                    )
                    gone = httpx.delete(f"{server.address}/v1/documents/again.txt", timeout=120)
                    clean = reply.status_code == 201 and gone.status_code == 200 and not strays(index, journal=False)
                    later.held() if clean else later.failed(f"{reply.text[:200]} {gone.text[:200]}")
                text = text_of(20_000, rng)

                def send(address: str = server.address, name: str = name, text: bytes = text) -> None:
                    with contextlib.suppress(httpx.TransportError):
                        httpx.post(f"{address}/v1/documents", files={"file": (name, text)}, timeout=300)

                begin = time.monotonic()
                sending = threading.Thread(target=send)
                sending.start()
                if number:
                    time.sleep(rng.uniform(0.2, 1.0) * took)
                    server.process.kill()
                sending.join()
                took = took or time.monotonic() - begin
            if number:
                problem = problem_of(index, before, {name})
                whole.held() if problem is None else whole.failed(problem)
            before = documents(index)
    return [whole, left, later]


def disks(count: int, rng: random.Random) -> list[Tally]:
    told, left, goes_on = Tally("full disks: 507 or done"), Tally("... nothing left"), Tally("... answers go on")
    with tempfile.TemporaryDirectory() as scratch:
        folder, disk = Path(scratch), Path(scratch) / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            print("left out: full disks, because no tmpfs can be mounted here")
            return []
        try:
            index, ballast = disk / "index", disk / "ballast"
            prepared(folder, index)
            full = 0
            with little_server(index, folder) as server, httpx.Client(base_url=server.address, timeout=120) as http:
                for number in range(count):
                    free = shutil.disk_usage(disk).free
                    ballast.write_bytes(bytes(max(0, free - rng.randrange(0, 400_000))))
                    before = http.get("/v1/documents").json()
                    if rng.random() < 0.3 and before["total"] > 2:
                        reply = http.delete(f"/v1/documents/{before['documents'][-1]['id']}")
                    else:
                        reply = http.post(
                            "/v1/documents", files={"file": (f"guest-{number}.txt", text_of(rng.randrange(4_000), rng))}
                        )
                    full += reply.status_code == 507
                    fine = reply.status_code in (200, 201, 507)
                    told.held() if fine else told.failed(f"{reply.status_code}: {reply.text[:200]}")
                    found = strays(index, journal=False)
                    if reply.status_code == 507 and http.get("/v1/documents").json() != before:
                        found.append("another list of documents")
                    left.held() if not found else left.failed(str(found))
                    answer = http.post("/v1/ask", json={"question": "What is the signal word of beacon 1?"})
                    goes_on.held() if answer.status_code == 200 else goes_on.failed(answer.text[:200])
                    ballast.unlink()
                    if rng.random() < 0.3:
                        for row in http.get("/v1/documents").json()["documents"]:
                            if row["id"].startswith("guest-"):
                                http.delete(f"/v1/documents/{row['id']}").raise_for_status()
                print(f"{full} of {count} changes met a full disk")
            problem = problem_of(index, set(), documents(index))
            goes_on.held() if problem is None else goes_on.failed(problem)
            complaints = [line for line in server.complaints() if "is full" not in line]
            goes_on.held() if not complaints else goes_on.failed(" | ".join(complaints[:5]))
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)
    return [told, left, goes_on]


def documents(index: Path) -> set[str]:
    from rag_ft.indexing.index import Index

    return set(Index.load(index).documents())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--disks", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    return show([*disks(given.disks, rng), *(kills(given.kills, rng) if given.kills else [])])


if __name__ == "__main__":
    sys.exit(main())
