"""A server for half an hour, while its index changes all the time: by another process and by uploads and removals.

    python benchmarks/attacks/soak.py [--minutes 30] [--clients 4] [--seed 0] [--models tiny|default]

Every document carries a word that no other version of it has. A reply that holds a word which had gone from the index
before the request was made is wrong: at once where the server removed it, after the time of a look at the folder where
another process did (the longest time seen is printed). So is an answer that is not in the passage it cites, any status
but those of a success, and any complaint in the server's log. Memory (the slope of the resident set over the last two
thirds), threads and open files (their fewest) must stay flat. All of it is on this machine's own address.
"""

import argparse
import json
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil
from little_server import Builder, LittleServer, little_server
from table import Tally, show

DOCUMENTS = 24
LOOK_S = 15.0
"""In which the server must have taken up another process's change, on a machine with other work."""
GROWTH = 0.05
"""Share of its size by which the resident set may grow over the last two thirds, by its slope."""
MORE_HANDLES = 8
"""By which the fewest threads and open files of the last third may be more than those of the first. A change under way
opens up to three states of the index with eight files each, so that the most, and on a busy machine the median, say how
many were under way; a leak would add eight with every change.
"""

WORD = re.compile(r"\b(?:sig\d\dv\d+|upl\d+)\b")


class World:
    """What is in the index, as far as can be known from outside."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        self.versions = dict.fromkeys(range(DOCUMENTS), 0)
        self.known: set[str] = set()
        """Words that may ever be seen."""
        self.gone: dict[str, tuple[float, float]] = {}
        """When a word went from the index, and how many seconds later nobody may see it any more."""
        self.building = 0
        """Goes up when another process begins to build and when it is done."""
        self.longest = 0.0
        self._rng = rng

    def text(self, number: int) -> str:
        word = f"sig{number:02d}v{self.versions[number]}"
        lines = [f"# Beacon {number}\n", f"The signal word of beacon {number} is {word}."]
        lines += [f"Keeper {part} of beacon {number} counts {self._rng.randrange(1000)} ships." for part in range(12)]
        return "\n\n".join(lines) + "\n"

    def write(self, numbers: list[int]) -> list[str]:
        """Write new versions of some documents; the words that will be gone after a build."""
        old = []
        for number in numbers:
            old.append(f"sig{number:02d}v{self.versions[number]}")
            self.versions[number] += 1
            self.known.add(f"sig{number:02d}v{self.versions[number]}")
            (self.folder / f"beacon-{number:02d}.md").write_text(self.text(number))
        return old

    def wrong(self, words: set[str], asked_at: float) -> str | None:
        """What is wrong with words in the reply to a request."""
        for word in words:
            if word not in self.known:
                return f"{word} never was in a document"
            if word in self.gone:
                when, grace = self.gone[word]
                self.longest = max(self.longest, asked_at - when) if grace else self.longest
                if asked_at > when + grace:
                    return f"{word} was seen {asked_at - when:.2f} s after it had gone"
        return None


class Soak:
    def __init__(self, server: LittleServer, builder: Builder, world: World, until: float, pause: float) -> None:
        self.server = server
        self.builder = builder
        self.world = world
        self.until = until
        self.pause = pause
        self.tallies: dict[str, Tally] = {}
        self._lock = threading.Lock()

    def note(self, name: str, problem: str | None) -> None:
        with self._lock:
            tally = self.tallies.setdefault(name, Tally(name))
            if problem is None:
                tally.held()
            else:
                tally.failed(problem)
                print(f"failed: {name}: {problem}", flush=True)

    def go_on(self) -> bool:
        return time.monotonic() < self.until

    # Clients

    def client(self, seed: int) -> None:
        rng = random.Random(seed)
        routes = (self.ask, self.ask_stream, self.chat, self.chat_stream, self.search, self.documents, self.document)
        with httpx.Client(base_url=self.server.address, timeout=120) as http:
            while self.go_on():
                route = rng.choice(routes)
                begin = time.monotonic()
                try:
                    problem = route(http, rng, begin)
                except Exception as error:
                    problem = f"{type(error).__name__}: {error}"
                self.note(route.__name__.replace("_", ", "), problem)
                time.sleep(self.pause)

    @staticmethod
    def question(rng: random.Random) -> str:
        number = rng.randrange(DOCUMENTS)
        return rng.choice(
            (
                f"What is the signal word of beacon {number}?",
                f"How many ships does keeper {rng.randrange(12)} of beacon {number} count?",
            )
        )

    def judge(self, answer: dict, begin: float) -> str | None:
        """What is wrong with an answer."""
        passages = {hit["passage"]["id"]: hit["passage"] for hit in answer["passages"]}
        for citation in answer["citations"]:
            passage = passages.get(citation["passage_id"])
            if passage is None or citation["quote"] not in passage["text"]:
                return f"a quote that is in no passage: {citation['quote'][:80]!r}"
        return self.world.wrong(set(WORD.findall(json.dumps(answer))), begin)

    def ask(self, http: httpx.Client, rng: random.Random, begin: float) -> str | None:
        reply = http.post("/v1/ask", json={"question": self.question(rng), "k": rng.randint(1, 5)})
        return unexpected(reply) or self.judge(reply.json(), begin)

    def ask_stream(self, http: httpx.Client, rng: random.Random, begin: float) -> str | None:
        with http.stream("POST", "/v1/ask", json={"question": self.question(rng), "stream": True}) as reply:
            if rng.random() < 0.1:
                return None if reply.status_code == 200 else f"status {reply.status_code}"  # and hang up
            lines = list(reply.iter_lines())
        events = [line.removeprefix("event: ") for line in lines if line.startswith("event:")]
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data:")]
        if reply.status_code != 200 or events != ["passages", "answer"]:
            return f"status {reply.status_code}, events {events}, {data[-1][:200] if data else ''}"
        return self.judge(json.loads(data[-1]), begin)

    def chat(self, http: httpx.Client, rng: random.Random, begin: float) -> str | None:
        body = {"model": "rag-ft", "messages": [{"role": "user", "content": self.question(rng)}]}
        reply = http.post("/v1/chat/completions", json=body)
        return unexpected(reply) or self.judge(reply.json()["choices"][0]["message"]["rag_ft"], begin)

    def chat_stream(self, http: httpx.Client, rng: random.Random, begin: float) -> str | None:
        body = {"model": "rag-ft", "messages": [{"role": "user", "content": self.question(rng)}], "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=body) as reply:
            data = [line.removeprefix("data: ") for line in reply.iter_lines() if line.startswith("data:")]
        if reply.status_code != 200 or data[-1] != "[DONE]":
            return f"status {reply.status_code}, {data[-1:]}"
        deltas = [choice["delta"] for piece in data[:-1] for choice in json.loads(piece)["choices"]]
        return self.judge(next(delta["rag_ft"] for delta in deltas if "rag_ft" in delta), begin)

    def search(self, http: httpx.Client, rng: random.Random, begin: float) -> str | None:
        reply = http.post("/v1/search", json={"query": self.question(rng), "k": rng.randint(1, 20)})
        return unexpected(reply) or self.world.wrong(set(WORD.findall(reply.text)), begin)

    def documents(self, http: httpx.Client, rng: random.Random, begin: float) -> str | None:
        reply = http.get("/v1/documents")
        problem = unexpected(reply) or self.world.wrong(set(WORD.findall(reply.text)), begin)
        there = {row["id"] for row in reply.json()["documents"]} if problem is None else set()
        if problem is None and len([name for name in there if name.startswith("beacon-")]) != DOCUMENTS:
            return f"documents are missing: {sorted(there)}"
        return problem

    def document(self, http: httpx.Client, rng: random.Random, begin: float) -> str | None:
        reply = http.get(f"/v1/documents/beacon-{rng.randrange(DOCUMENTS):02d}.md")
        return unexpected(reply) or self.world.wrong(set(WORD.findall(reply.text)), begin)

    # Writers

    def rebuilds(self, seed: int) -> None:
        """Another process brings the index up to date with a folder that keeps changing."""
        rng = random.Random(seed)
        world = self.world
        while self.go_on():
            old = world.write(rng.sample(range(DOCUMENTS), rng.randint(1, 3)))
            before = [word for word in world.known if word.startswith("upl") and word not in world.gone]
            before = [word for word in before if word in self.uploaded]
            world.building += 1
            try:
                self.builder.build(world.folder)
                now = time.monotonic()
                for word in old + before:  # a build has the folder's documents and no others
                    world.gone.setdefault(word, (now, LOOK_S))
                self.note("rebuild by another process", None)
            except Exception as error:
                self.note("rebuild by another process", str(error))
            world.building += 1
            time.sleep(rng.uniform(0.5, 3))

    uploaded: set[str]

    def uploads(self, seed: int) -> None:
        """A document is uploaded, looked for, removed, looked for."""
        rng = random.Random(seed)
        self.uploaded = set()
        number = 0
        with httpx.Client(base_url=self.server.address, timeout=120) as http:
            while self.go_on():
                number += 1
                for name, problem in self.upload(http, f"upl{number}"):
                    self.note(name, problem)
                time.sleep(rng.uniform(0.3, 1.5))

    def upload(self, http: httpx.Client, word: str):
        world, name, file = self.world, f"{word}.txt", f"The signal word of the guest is {word}.".encode()
        world.known.add(word)
        epoch = world.building
        # While another process builds, an upload may be taken out again by it.
        alone = lambda: world.building == epoch and not epoch % 2  # noqa: E731

        reply = http.post("/v1/documents", files={"file": (name, file)})
        yield "upload", unexpected(reply, 201)
        if reply.status_code != 201:
            return
        self.uploaded.add(word)
        hits = http.post("/v1/search", json={"query": f"signal word of the guest {word}", "k": 5})
        missing = unexpected(hits) or (None if word in hits.text.partition('"index"')[0] else f"{word} is not found")
        if missing is None or alone():
            yield "search after an upload", missing
        gone = http.delete(f"/v1/documents/{name}")
        if gone.status_code == 404 and not alone():
            return
        world.gone[word] = (time.monotonic(), 0.0)
        yield "removal", unexpected(gone)
        begin = time.monotonic()
        hits = http.post("/v1/search", json={"query": f"signal word of the guest {word}", "k": 5})
        yield "search after a removal", unexpected(hits) or world.wrong(set(WORD.findall(hits.text)), begin)
        reply = http.get(f"/v1/documents/{name}")
        yield "reading after a removal", None if reply.status_code == 404 else f"status {reply.status_code}"

    # Measuring

    def measure(self, every: float) -> list[tuple[float, int, int, int]]:
        """Seconds, resident bytes, threads and open files of the server, again and again."""
        process, begin, rows = psutil.Process(self.server.process.pid), time.monotonic(), []
        said = begin
        while self.go_on():
            handles = process.num_fds()
            rows.append((time.monotonic() - begin, process.memory_info().rss, process.num_threads(), handles))
            if time.monotonic() - said > 60:
                said = time.monotonic()
                tried = sum(tally.tried for tally in self.tallies.values())
                seconds, memory, threads, handles = rows[-1]
                print(
                    f"{seconds:5.0f} s  {memory / 1e6:.0f} MB  {threads} threads  {handles} files  {tried} requests",
                    flush=True,
                )
            time.sleep(every)
        return rows


def unexpected(reply: httpx.Response, status: int = 200) -> str | None:
    return None if reply.status_code == status else f"status {reply.status_code}: {reply.text[:200]}"


def flat(rows: list[tuple[float, int, int, int]]) -> list[Tally]:
    """Whether memory, threads and files stayed as they were."""
    third = len(rows) // 3
    late = rows[third:]
    slope = statistics.linear_regression([row[0] for row in late], [row[1] for row in late]).slope
    grown, mean = slope * (late[-1][0] - late[0][0]), statistics.mean(row[1] for row in late)
    print(
        f"resident set over the last two thirds: mean {mean / 1e6:.1f} MB, least {min(r[1] for r in late) / 1e6:.1f},"
        f" most {max(r[1] for r in late) / 1e6:.1f}, slope {slope * 3600 / 1e6:+.1f} MB an hour,"
        f" {100 * grown / mean:+.2f}% in that time (bound {100 * GROWTH:.0f}%)"
    )
    tallies = []
    memory = Tally("memory is flat")
    memory.held() if grown < GROWTH * mean else memory.failed(f"it grew by {grown / 1e6:.1f} MB")
    tallies.append(memory)
    for name, column in (("threads", 2), ("open files", 3)):
        parts = [[row[column] for row in part] for part in (rows[:third], rows[-third:])]
        first, last = map(min, parts)
        told = [f"{min(part)} to {max(part)}, median {statistics.median(part):g}" for part in parts]
        print(f"{name}: {told[0]} in the first third, {told[1]} in the last")
        tally = Tally(f"{name} are flat")
        tally.held() if last <= first + MORE_HANDLES else tally.failed(f"{first:g} became {last:g}")
        tallies.append(tally)
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", choices=("tiny", "default"), default="tiny")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds that a client waits between requests")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "documents").mkdir()
        world = World(folder / "documents", random.Random(given.seed))
        world.write(list(range(DOCUMENTS)))
        builder = Builder(folder / "index", given.models)
        builder.build(world.folder)
        with little_server(folder / "index", folder, models=given.models) as server:
            until = time.monotonic() + 60 * given.minutes
            soak = Soak(server, builder, world, until, given.pause)
            threads = [threading.Thread(target=soak.client, args=(given.seed + 10 + n,)) for n in range(given.clients)]
            soak.uploaded = set()
            threads.append(threading.Thread(target=soak.rebuilds, args=(given.seed + 1,)))
            threads.append(threading.Thread(target=soak.uploads, args=(given.seed + 2,)))
            for thread in threads:
                thread.start()
            rows = soak.measure(every=min(5.0, given.minutes))
            for thread in threads:
                thread.join(300)
            metrics = httpx.get(f"{server.address}/metrics").text
        builder.close()
        print(f"longest time that another process's change was not seen: {world.longest:.1f} s (bound {LOOK_S:g} s)")
        tallies = [*soak.tallies.values(), *flat(rows)]
        failed = Tally("no 5xx in the server's own counts")
        counted = re.findall(r'rag_ft_requests_total\{route="([^"]+)",status="(5\d\d)"\}', metrics)
        failed.failed(str(counted)) if counted else failed.held()
        log = Tally("nothing in the server's log")
        complaints = server.complaints()
        log.failed(" | ".join(complaints[:5])) if complaints else log.held()
        left = Tally("nothing left beside the index")
        kept = {"manifest.json", "generations", ".lock", ".rag-ft-index"}
        names = {entry.name for entry in (folder / "index").iterdir()} - kept
        generations = list((folder / "index" / "generations").iterdir())
        left.failed(f"{names} {generations}") if names or len(generations) != 1 else left.held()
        return show([*tallies, failed, log, left])


if __name__ == "__main__":
    sys.exit(main())
