"""Ask for what only stands in hidden documents, through every route, as readers with random groups.

    python benchmarks/attacks/access.py --count 200 --seed 0

Each try makes a request to a server whose index has hidden documents, and the same one to a twin whose index never had
them: the replies must be equal to the byte, apart from times and random names, and must not hold a word of a hidden
document that was not in the request. Then the processor time of searches for hidden words is compared with that of
searches for words that stand nowhere (Mann-Whitney), and, to show what the comparison can tell, for an administrator.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from scipy.stats import mannwhitneyu

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from fakes import HashingEmbedder
from mcp import Client
from table import Tally, show
from tiny_llama import make_tiny_llama

from rag_ft import Index, Reader
from rag_ft.indexing.access import audience
from rag_ft.indexing.sources.events import ReadDocument
from rag_ft.models.compute import compute_plan
from rag_ft.models.loading import load_model
from rag_ft.schema import Document
from rag_ft.serving.app import create_app
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.http import rights
from rag_ft.serving.http.tokens import add_token
from rag_ft.serving.mcp import create_mcp

GROUPS = ("staff", "legal", "board", "sales")
COMMON = "the tower of a city is high and was built by masons for the guild of the harbour in a cold year".split()
RIGHTS = ("read", "write")


def secret(number: int) -> str:
    """A word that stands in one document only."""
    return f"zq{number:05}"


def world(chance: random.Random, size: int) -> list[Document]:
    """Documents with random labels; each has a word of its own in text, title, source and metadata."""
    made = []
    for number in range(size):
        groups = chance.sample(GROUPS, chance.randint(0, 2))
        label: dict[str, Any] = {} if chance.random() < 0.3 else {"access": sorted(groups)}
        text = " ".join(chance.choices(COMMON, k=12)) + f" {secret(number)} is {100 + number} metres high."
        made.append(
            Document(
                id=f"f{number % 3}/{secret(number)}.txt",
                text=text,
                title=f"On {secret(number)}",
                source=f"/data/{secret(number)}.txt",
                metadata={**label, "about": secret(number)},
            )
        )
    return made


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=600) as client:
            yield client


def plain(text: str) -> str:
    text = re.sub(r'("(?:\w+_seconds|created)":)[\d.e-]+', r"\1 0", text)
    return re.sub(r"chatcmpl-\w+|/[^ \"']*?/(?:with|without)/index", "", text)


def requests(chance: random.Random, number: int, hidden: list[str]) -> dict[str, dict[str, Any]]:
    """One request for each route, after the words and the names of hidden documents."""
    word, other = chance.choice(hidden), secret(90_000 + number)
    asked = f"How high is {word} of the tower, and {other}?"
    chat = {"messages": [{"role": "user", "content": asked}]}
    name = f"f{chance.randrange(3)}/{chance.choice(hidden)}.txt"
    where = chance.choice([{"about": word}, {"title": f"On {word}"}, {"document_id": name}, {"access": "board"}])
    file = {"file": (f"{word}.txt", b"The words of whoever uploads this.")}
    key = chance.choice(["", "?replace=true", "?access=staff", "?access=board"])
    return {
        "POST /v1/ask": {"url": "/v1/ask", "json": {"question": asked, "k": 20, "threshold": 0}},
        "POST /v1/ask, stream": {"url": "/v1/ask", "json": {"question": asked, "stream": True}},
        "POST /v1/ask, where": {"url": "/v1/ask", "json": {"question": asked, "where": where}},
        "POST /v1/search": {"url": "/v1/search", "json": {"query": asked, "k": 20}},
        "POST /v1/search, where": {"url": "/v1/search", "json": {"query": asked, "k": 20, "where": where}},
        "POST /v1/chat/completions": {"url": "/v1/chat/completions", "json": chat},
        "POST /v1/chat/completions, stream": {"url": "/v1/chat/completions", "json": {**chat, "stream": True}},
        "GET /v1/documents": {"method": "GET", "url": f"/v1/documents?offset={chance.randrange(9)}"},
        "GET /v1/documents/{id}": {"method": "GET", "url": f"/v1/documents/{name}"},
        "GET /v1/about": {"method": "GET", "url": "/v1/about"},
        "GET /v1/models": {"method": "GET", "url": "/v1/models"},
        "GET /openapi.json": {"method": "GET", "url": "/openapi.json"},
        "GET /metrics": {"method": "GET", "url": "/metrics"},
        "GET /v1/report": {"method": "GET", "url": "/v1/report"},
        "POST /v1/documents": {"url": f"/v1/documents{key}", "files": file},
        "DELETE /v1/documents/{id}": {"method": "DELETE", "url": f"/v1/documents/{name}"},
        "GET /healthz, /readyz": {"method": "GET", "url": chance.choice(["/healthz", "/readyz"])},
    }


def parsed_here(name: str, data: bytes, **limits: Any) -> ReadDocument:
    """An upload without a process for each."""
    metadata: dict[str, Any] = {"uploaded": True}
    return ReadDocument(Document(id=name, text=data.decode(), title=name, source=name, metadata=metadata))


async def attack_routes(folder: Path, reader: Reader, seed: int, count: int, size: int) -> list[Tally]:
    """A world for every ten tries of each route, and a reader with other groups for each world."""
    import rag_ft.serving.routes.documents as documents_module

    documents_module.parse_upload = parsed_here  # type: ignore[assignment]
    tallies: dict[str, Tally] = {}
    ids = itertools.count()
    for first in range(0, count, 10):
        chance = random.Random(seed * 1_000_003 + first)
        here = folder / str(first)
        documents, readable, hidden = [], [], []
        while not hidden or len(readable) < 2:
            documents = world(chance, size)
            groups = chance.sample(GROUPS, chance.randint(0, 3))
            right = chance.choice(RIGHTS) if groups else "read"
            default = chance.choice([None, None, ["sales"], []])
            seen = audience(groups, default)
            readable = [one for one in documents if seen.may_read(one.metadata)]
            hidden = [one.metadata["about"] for one in documents if one not in readable]
        token = add_token(here / "tokens.toml", "reader", groups=groups, rights=right)
        if default is not None:
            path = here / "tokens.toml"
            path.write_text(f"default_access = {default!r}\n" + path.read_text())
        kind = chance.choice(["flat", "hnsw", "ivf-pq"])
        indexes = [
            Index.build(made, here / name / "index", embedder=HashingEmbedder(), progress=False, kind=kind)
            for name, made in (("with", documents), ("without", readable))
        ]
        config = ServeConfig(tokens=here / "tokens.toml")
        async with (
            serving(create_app(indexes[0], reader, config)) as with_hidden,
            serving(create_app(indexes[1], reader, config)) as without,
        ):
            for number in range(first, min(count, first + 10)):
                for route, request in requests(chance, number, hidden).items():
                    tally = tallies.setdefault(route, Tally(route))
                    upload = next(ids)
                    replies = []
                    for client in (with_hidden, without):
                        rights.secrets = SimpleNamespace(token_hex=lambda _, upload=upload: f"{upload:016x}")  # type: ignore[assignment]
                        reply = await client.request(
                            request.get("method", "POST"),
                            headers={"authorization": f"Bearer {token}"},
                            **{key: value for key, value in request.items() if key != "method"},
                        )
                        replies.append(f"{reply.status_code} {plain(reply.text)}")
                    given = str(request)
                    told = {word for word in re.findall(r"zq\d{5}", replies[0]) if word in hidden and word not in given}
                    if replies[0] != replies[1]:
                        tally.failed(f"try {number}: {replies[0][:200]} is not {replies[1][:200]}")
                    elif told:
                        tally.failed(f"try {number}: told {sorted(told)[:3]}")
                    else:
                        tally.held()
        await attack_mcp(tallies, indexes, reader, seen, hidden, first)
        left = set(Index.load(here / "with" / "index").documents())
        tally = tallies.setdefault("hidden documents stay whole", Tally("hidden documents stay whole"))
        for one in documents:
            if one not in readable:
                tally.held() if one.id in left else tally.failed(f"{one.id} is gone")
    return list(tallies.values())


async def attack_mcp(
    tallies: dict[str, Tally], indexes: list[Index], reader: Reader, seen: Any, hidden: list[str], first: int
) -> None:
    """The tools of an assistant with the reader's groups."""
    said: list[str] = []
    for index in (Index.load(one.path, embedder=HashingEmbedder()) for one in indexes):
        async with Client(create_mcp(index, reader, audience=seen)) as client:
            question = f"How high is {hidden[0]}?"
            for name, arguments in (("search", {"query": question, "k": 20}), ("ask", {"question": question})):
                said.append(str((await client.call_tool(name, arguments)).structured_content))
    for number, name in enumerate(("MCP search", "MCP ask")):
        tally = tallies.setdefault(name, Tally(name))
        same = said[number] == said[number + 2]
        tally.held() if same else tally.failed(f"world {first}: {said[number][:200]}")


def attack_retrieval(folder: Path, seed: int, count: int) -> Tally:
    """Rankings of every mode and kind with random k and groups, against an index without the hidden documents."""
    tally = Tally("retrieval, every mode and kind")
    for number in range(count):
        chance = random.Random(seed * 7_919 + number)
        documents = world(chance, chance.randint(2, 40))
        seen = audience(chance.sample(GROUPS, chance.randint(0, 3)), chance.choice([None, ["sales"]]))
        readable = [one for one in documents if seen.may_read(one.metadata)]
        if not readable:
            continue
        kind = chance.choice(["flat", "hnsw", "ivf-pq"])
        parts = [
            Index.build(made, folder / f"{number}-{name}", embedder=HashingEmbedder(), progress=False, kind=kind)
            for name, made in (("with", documents), ("without", readable))
        ]
        for mode in ("dense", "bm25", "hybrid", "blend"):
            question = f"{secret(chance.randrange(40))} {' '.join(chance.choices(COMMON, k=5))}"
            k = chance.randint(1, 50)
            got = [part.visible_to(seen).as_retriever(k=k, mode=mode).retrieve(question) for part in parts]
            if got[0] == got[1] and all(seen.may_read(hit.passage.metadata) for hit in got[0]):
                tally.held()
            else:
                tally.failed(f"world {number}, {mode}, {kind}")
    return tally


async def time_words(folder: Path, reader: Reader, seed: int, count: int) -> list[Tally]:
    """Are hidden words slower or faster to ask for than words that stand nowhere? Each word is asked for once."""
    chance = random.Random(seed)
    documents = [
        Document(
            id=f"d{number:05}",
            text=" ".join(chance.choices(COMMON, k=30)) + f" {secret(number)}.",
            title=f"T{number}",
            metadata={"access": ["board"]} if number % 2 else {},
        )
        for number in range(4_000)
    ]
    index = Index.build(documents, folder / "timed", embedder=HashingEmbedder(), progress=False)
    tokens = folder / "timed.toml"
    token = {
        right: add_token(tokens, right, groups=["staff"] if right != "admin" else [], rights=right)
        for right in ("read", "admin")
    }
    hidden = [number for number in range(4_000) if number % 2]
    nowhere = list(range(50_000, 50_000 + 4 * (count + 20)))
    chance.shuffle(hidden)
    tallies: list[Tally] = []
    words = {"hidden": iter(hidden), "nowhere": iter(nowhere)}
    async with serving(create_app(index, reader, ServeConfig(tokens=tokens))) as client:

        async def took(request: Callable[[str], dict[str, Any]], arm: str, who: str) -> float:
            asked = {"headers": {"authorization": f"Bearer {token[who]}"}, **request(secret(next(words[arm])))}
            # Processor time: the clock of a busy machine hides what a patient attacker would find on a quiet one.
            begin = time.process_time()
            await client.request(**asked)
            return time.process_time() - begin

        def search(word: str) -> dict[str, Any]:
            return {"method": "POST", "url": "/v1/search", "json": {"query": word}}

        def document(word: str) -> dict[str, Any]:
            return {"method": "GET", "url": f"/v1/documents/d{word[2:]}"}

        lines = []
        for name, request, who in (
            ("POST /v1/search", search, "read"),
            ("GET /v1/documents/{id}", document, "read"),
            ("POST /v1/search, by an administrator", search, "admin"),
            ("GET /v1/documents/{id}, by an administrator", document, "admin"),
        ):
            words["hidden"] = iter(chance.sample(hidden, len(hidden)))
            for _ in range(20):
                await took(request, "nowhere", who)
            times: dict[str, list[float]] = {"hidden": [], "nowhere": []}
            for _ in range(count):
                for arm in chance.sample(("hidden", "nowhere"), 2):
                    times[arm].append(await took(request, arm, who))
            p = float(mannwhitneyu(times["hidden"], times["nowhere"]).pvalue)
            medians = [statistics.median(times[arm]) * 1000 for arm in ("hidden", "nowhere")]
            lines.append(
                f"{name}: median {medians[0]:.3f} ms for hidden words, {medians[1]:.3f} ms for words of no document,"
                f" p = {p:.3g} ({count} each)"
            )
            if who == "read":
                tally = Tally(f"time of {name}")
                tally.held() if p > 0.01 else tally.failed(lines[-1])
                tallies.append(tally)
    print("\n".join(lines), end="\n\n")
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50, help="tries of each route")
    parser.add_argument("--timed", type=int, default=500, help="requests of each kind that are timed")
    parser.add_argument("--documents", type=int, default=24, help="documents of a world")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # the MCP library turns the root logger on
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = compute_plan("cpu")
        reader = Reader(load_model(str(make_tiny_llama(folder / "reader")), plan=plan), threshold=0.0)
        tallies = asyncio.run(attack_routes(folder, reader, given.seed, given.count, given.documents))
        tallies.append(attack_retrieval(folder, given.seed, given.count))
        if given.timed:
            tallies += asyncio.run(time_words(folder, reader, given.seed, given.timed))
    return show(tallies)


if __name__ == "__main__":
    sys.exit(main())
