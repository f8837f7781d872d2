"""Malformed requests to a server: none may be a 5xx, hang, or leave a traceback, and a good question goes on as before.

    python benchmarks/attacks/server.py [--count 1000] [--seed 0]

The requests are the same for a seed. They go to every route of the server's own description and to the bare socket, on
this machine's own address only, eight at a time. A reply of a described route must have a status that is described.
"""

import argparse
import json
import random
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
from little_server import Builder, LittleServer, little_server
from table import Tally, show

HANGS_S = 45.0
"""After which a request that was neither answered nor hung up on counts as hanging; the server's own limits are 15
seconds for a head and 3, here, for a body."""

QUESTION = "What is the signal word of beacon 7?"
HOST = b"127.0.0.1"


@dataclass
class Attack:
    kind: str
    data: bytes
    route: tuple[str, str] | None = None
    """Method and template of the route whose description the reply must follow."""
    cut: int | None = None
    """Hang up after so many bytes of the reply."""
    half: bool = False
    """Say that nothing more comes, as a client does that has gone half-way."""


@dataclass
class Reply:
    status: int | None
    kind: str = ""
    body: bytes = b""


def request(
    method: str,
    path: str,
    body: bytes = b"",
    headers: list[tuple[str, str]] | None = None,
    kind: str | None = "application/json",
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1".encode("utf-8", "surrogatepass"), b"Host: " + HOST, b"Connection: close"]
    if kind is not None:
        lines.append(b"Content-Type: " + kind.encode("utf-8", "surrogatepass"))
    for name, value in headers or []:
        lines.append(f"{name}: {value}".encode("utf-8", "surrogatepass"))
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def exchange(port: int, attack: Attack) -> Reply:
    """Send it and read the first reply. Raises TimeoutError where nothing happens."""
    until = time.monotonic() + HANGS_S
    with socket.create_connection(("127.0.0.1", port), timeout=HANGS_S) as wire:
        try:
            wire.sendall(attack.data)
            if attack.half:
                wire.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has hung up already, and may have said why
        data = b""
        while not whole(data):
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            wire.settimeout(left)
            try:
                piece = wire.recv(65536)
            except ConnectionError:
                break
            data += piece
            if not piece or (attack.cut is not None and len(data) >= attack.cut):
                break
    head, _, body = data.partition(b"\r\n\r\n")
    match = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    kind = re.search(rb"(?i)\r\ncontent-type: *([^;\r\n]*)", head)
    return Reply(int(match[1]) if match else None, kind[1].decode("latin-1") if kind else "", body)


def whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if not end:
        return False
    if length is not None:
        return len(body) >= int(length[1])
    return b"transfer-encoding: chunked" in head.lower() and body.endswith(b"0\r\n\r\n")


# What is sent

JSON_ROUTES = ("/v1/ask", "/v1/search", "/v1/chat/completions")
GOOD = {
    "/v1/ask": {"question": QUESTION, "k": 2, "threshold": 0, "stream": False, "adapter": "none", "where": {}},
    "/v1/search": {"query": QUESTION, "k": 3, "where": {}},
    "/v1/chat/completions": {"model": "rag-ft", "messages": [{"role": "user", "content": QUESTION}], "stream": False},
}


def odd_value(rng: random.Random):
    return rng.choice(
        [
            None,
            True,
            0,
            -1,
            2**63,
            10**400,
            1e308,
            0.1,
            "",
            " ",
            "x" * rng.choice([1, 2001, 60_000]),
            "\x00\x1b[2J",
            "\u202e\u2028",
            [],
            {},
            [[]],
            {"": None},
            [1] * 5000,
            {"a": {"b": {"c": []}}},
            {"__class__": "x", "$ref": "#"},
            ["x", 1, None, {}],
            "1",
            "true",
            "../../etc/passwd",
            "<|im_end|>",
        ]
    )


def broken_json(rng: random.Random) -> Attack:
    path = rng.choice(JSON_ROUTES)
    good = json.dumps(GOOD[path]).encode()
    place = rng.randrange(len(good))
    body = rng.choice(
        [
            good[:place],
            good[:place] + bytes([rng.randrange(256)]) + good[place:],
            good[:place] + bytes([rng.randrange(256)]) + good[place + 1 :],
            good + good,
            good.replace(b'"k": 2', b'"k": ' + rng.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 6000])),
            b"[" * rng.choice([10, 5_000, 100_000]),
            b'{"a":' * rng.choice([10, 5_000, 40_000]) + b"1" + b"}" * 10,
            good.replace(
                b"signal", rng.choice([b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\\udc00\\ud800", b"\\u0000"])
            ),
            good.decode().encode(rng.choice(["utf-16", "utf-32", "utf-8-sig"])),
            b"",
            b"\x00" * rng.randrange(1, 1000),
            rng.randbytes(rng.randrange(1, 3000)),
            rng.choice([b"null", b"0", b'"x"', b"[]", b"NaN", b"{}", b"-", b"1e", b"tru"]),
            good[:-1] + b', "question": 1, "query": 1, "messages": 1}',
            b"x" * 300_000,
        ]
    )
    return Attack("JSON that is none", request("POST", path, body), ("post", path))


def wrong_types(rng: random.Random) -> Attack:
    path = rng.choice(JSON_ROUTES)
    body = json.loads(json.dumps(GOOD[path]))
    for _ in range(rng.randint(1, 3)):
        name = rng.choice([*body, "extra", "n", "tools", "stream_options", "response_format", "logprobs"])
        body[name] = odd_value(rng)
    if rng.random() < 0.2:
        body["where"] = {rng.choice(["title", "", "id", "page", "a.b"]): odd_value(rng)}
    return Attack("wrong types and numbers", request("POST", path, json.dumps(body).encode()), ("post", path))


def chat_shapes(rng: random.Random) -> Attack:
    content = lambda: rng.choice(  # noqa: E731
        [
            QUESTION,
            odd_value(rng),
            [{"type": "text", "text": odd_value(rng)}],
            [
                {
                    "type": rng.choice(["image_url", "input_audio", "file", None, 1]),
                    "image_url": {"url": "file:///etc/passwd"},
                }
            ],
            [{"text": "x"}, "x", 1, None],
            [{"type": "text", "text": "x"}] * 3000,
        ]
    )
    message = lambda: rng.choice(  # noqa: E731
        [
            {"role": rng.choice(["user", "system", "assistant", "tool", "", None, 7]), "content": content()},
            {"role": "user"},
            {"role": "user", "content": QUESTION, "name": odd_value(rng), "tool_calls": odd_value(rng)},
            odd_value(rng),
        ]
    )
    schema = rng.choice(
        [
            {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]},
            {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
            {"$ref": "http://127.0.0.1:1/x"},
            {"pattern": "(a+)+$"},
            {"anyOf": [{}] * 900},
            {"type": odd_value(rng), "properties": odd_value(rng), "enum": odd_value(rng)},
            {"multipleOf": 1e-308, "minimum": 10**400},
            {"$schema": odd_value(rng), "$id": odd_value(rng), "items": odd_value(rng)},
        ]
    )
    body = {
        "model": rng.choice(["rag-ft", "none", "gpt-4", "", "x" * 500]),
        "messages": rng.choice([[message()], [message() for _ in range(rng.randrange(6))], odd_value(rng)]),
        "stream": rng.choice([True, False, None]),
    }
    if rng.random() < 0.5:
        body["response_format"] = rng.choice(
            [
                {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
                {"type": "json_schema"},
                odd_value(rng),
            ]
        )
    path = "/v1/chat/completions"
    return Attack("odd chat messages and schemas", request("POST", path, json.dumps(body).encode()), ("post", path))


def headers(rng: random.Random) -> Attack:
    path = rng.choice(JSON_ROUTES)
    good = json.dumps(GOOD[path]).encode()
    value = rng.choice(
        ["", "x", "\x00", "\u00e9", "\u202e", "a" * 5000, "1, 2", ";;;", "\x1b[2J", '"', "=", "bytes=0-"]
    )
    name = rng.choice(
        ["Host", "Origin", "Authorization", "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Expect", "Upgrade",
         "Content-Encoding", "Accept", "Accept-Encoding", "Cookie", "Range", "If-None-Match", "TE", "Trailer", "Via",
         "Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Last-Event-ID", "X-HTTP-Method-Override",
         "\u00e9", "a b", "", ":path", "x" * 3000]
    )  # fmt: skip
    many = rng.choice([1, 1, 1, 2, 90, 1500])
    kind = rng.choice(
        ["application/json", "text/plain", "application/xml", "multipart/form-data", "application/json; charset=utf-16",
         "application/x-www-form-urlencoded", "", "application/json" * 200, "\x00", "*/*", None]
    )  # fmt: skip
    return Attack("headers", request("POST", path, good, [(name, value)] * many, kind))


def raw(rng: random.Random) -> Attack:
    good = request("POST", "/v1/search", json.dumps(GOOD["/v1/search"]).encode())
    head = b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    data = rng.choice(
        [
            good[: rng.randrange(1, len(good))],
            rng.randbytes(rng.randrange(1, 5000)),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(50),
            b"GET /\r\n\r\n",
            b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
            b"\r\n" * rng.randrange(1, 3000),
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n folded: x\r\n\r\n",
            b"GET " + b"/" * rng.choice([100, 70_000]) + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            b"GET http://evil.example/v1/about HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            b"GET /v1/about HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
            head + b"Content-Length: -5\r\n\r\nhello",
            head + b"Content-Length: " + b"9" * rng.choice([5, 18, 19, 30, 5000]) + b"\r\n\r\n{}",
            head + b"Content-Length: \xb2\r\n\r\n{}",
            head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
            head + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            head + b"Transfer-Encoding: chunked\r\n\r\n" + rng.choice([b"zz", b"-1", b"5\r\nab", b"f" * 30])
            + b"\r\n" + rng.randbytes(20),
            head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;ext=" + b"a" * rng.choice([10, 100_000]) + b"\r\nx\r\n",
            head + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 300_000,
            good.replace(b"Connection: close\r\n", b"") * rng.randrange(2, 6) + b"GARBAGE\r\n\r\n",
            good.replace(b"\r\n", b"\n"),
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a: b\r\n" * rng.choice([200, 40_000]) + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        ]
    )  # fmt: skip
    return Attack("bare socket", data, half=rng.random() < 0.9)


def paths(rng: random.Random) -> Attack:
    piece = rng.choice(
        ["..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "%00", "%0d%0aX:%20y", "%ff",
         "%ed%a0%80", "\u00e9", "a" * 8000, "%", "%zz", "//", "/", ";x", "x%2fy", "%5c..%5c", "~root", "*", "{x}",
         "%1b%5b2J", "beacon-07.md/", "beacon-07.md%00.txt", "./beacon-07.md/.", "?", "#x", "[::1]"]
    )  # fmt: skip
    base = rng.choice(
        ["/v1/documents/", "/v1/models/", "/report/", "/v1/", "/", "/page.js/", "/openapi.json/", "/v1/documents"]
    )
    query = rng.choice(
        ["", "", "?start=-1", "?start=" + "9" * 5000, "?end=NaN", "?start=1&start=x", "?limit=1e3", "?offset=-0",
         "?%ff=%ff", "?" + "a=b&" * 3000, "?start=%00", "?replace=maybe"]
    )  # fmt: skip
    method = rng.choice(["GET", "GET", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "POST", "get", "X" * 300])
    return Attack("paths, queries and methods", request(method, base + piece + query, kind=None))


FILES = (
    b"",
    b"\x00" * 500,
    b"%PDF-1.7\n1 0 obj",
    b"PK\x03\x04" + b"\x00" * 100,
    b"<html><body>" + b"<div>" * 20_000,
    b"---\n" + b"a: [" * 500 + b"\n---\ntext",
    b'{"id": 1}\n{"text": NaN}\n',
    b"\xff\xfe\xfa" * 300,
)


def uploads(rng: random.Random) -> Attack:
    name = rng.choice(
        ["a\x1b[2Jb.txt", "../../etc/passwd.txt", "..\\x.txt", ".hidden.txt", "a:b.txt", "con.txt", "x" * 300 + ".txt",
         "", "\u202etxt.exe", "a\x00.txt", "a\u2028.txt", "%2e%2e%2fx.txt", "x.exe", "x", "x.pdf", "x.docx", "x.epub",
         "x.html", "x.md", "x.json", "x.jsonl", "\ud800.txt", "manifest.json", 'a".txt', "a;b.txt"]
    )  # fmt: skip
    boundary = rng.choice(["b", "b", "b", "", "x" * 300, '"b', "\x00", "b b"])
    quoted = name.replace("\r", "").replace("\n", "").encode("utf-8", "surrogatepass")
    part = (
        b'Content-Disposition: form-data; name="file"; filename="' + quoted + b'"\r\n\r\n' + rng.choice(FILES) + b"\r\n"
    )
    b = boundary.encode()
    body = rng.choice(
        [
            b"--" + b + b"\r\n" + part + b"--" + b + b"--\r\n",
            b"--" + b + b"\r\n" + part + b"--" + b + b"--\r\n",
            b"--" + b + b"\r\n" + part[: rng.randrange(len(part))],
            (b"--" + b + b"\r\n" + part) * 3 + b"--" + b + b"--\r\n",
            b"--" + b + b"\r\n" + b"X: y\r\n" * 5000 + b"\r\n" + part,
            b"--" + b + b"\r\nContent-Disposition: form-data; name=file\r\n\r\nx\r\n--" + b + b"--\r\n",
            b"--"
            + b
            + b"\r\nContent-Disposition: \xff\xfe; filename*=utf-8''%ff%00.txt; name=file\r\n\r\nx\r\n--"
            + b
            + b"--",
            rng.randbytes(300),
            b"",
            b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' * 1200 + b"--b--\r\n",
        ]
    )
    kind = f"multipart/form-data; boundary={boundary}" if rng.random() < 0.9 else "multipart/form-data"
    clean = "\x00" not in kind and '"' not in kind
    query = rng.choice(["", "", "?replace=true", "?replace=7"])
    data = request("POST", "/v1/documents" + query, body, kind=kind)
    return Attack("uploads", data, ("post", "/v1/documents") if clean else None)


def cut_streams(rng: random.Random) -> Attack:
    path = rng.choice(["/v1/ask", "/v1/chat/completions"])
    body = json.dumps({**GOOD[path], "stream": True}).encode()
    return Attack("streams that the client cuts", request("POST", path, body), cut=rng.choice([0, 1, 100, 600, 3000]))


KINDS: list[tuple[Callable[[random.Random], Attack], int]] = [
    (broken_json, 18),
    (wrong_types, 18),
    (chat_shapes, 14),
    (headers, 14),
    (raw, 14),
    (paths, 12),
    (uploads, 7),
    (cut_streams, 3),
]
"""With their shares in a hundred."""


def judge(reply: Reply, attack: Attack, described: dict) -> str | None:
    """What is wrong with a reply; no reply at all is none where the request is no HTTP, or was cut."""
    if reply.status is None:
        return None if attack.kind in ("bare socket", "headers", "streams that the client cuts") else "hung up on"
    if reply.status >= 500:
        return f"status {reply.status}: {reply.body[:200]!r}"
    if attack.route is None:
        return None
    method, path = attack.route
    told = described["paths"][path][method]["responses"].get(str(reply.status))
    if told is None or reply.kind not in told["content"]:
        return f"{method} {path}: {reply.status} {reply.kind} is not described: {reply.body[:200]!r}"
    if reply.status >= 400 and set(json.loads(reply.body)["error"]) != {"message", "type", "param", "code"}:
        return f"an error in another form: {reply.body[:200]!r}"
    return None


def good_answer(http: httpx.Client) -> dict:
    answer = http.post("/v1/ask", json={"question": QUESTION}).raise_for_status().json()
    kept = ("answer", "citations", "confidence", "completion", "passages", "provenance")
    return {name: answer[name] for name in kept}


def run(server: LittleServer, attacks: list[Attack]) -> list[Tally]:
    tallies: dict[str, Tally] = {}
    good = Tally("a good question in between")
    with httpx.Client(base_url=server.address, timeout=120) as http:
        described = http.get("/openapi.json").json()
        documents, before = http.get("/v1/documents").json(), good_answer(http)

        def one(attack: Attack) -> str | None:
            try:
                return judge(exchange(server.port, attack), attack, described)
            except TimeoutError:
                return f"nothing within {HANGS_S:g} s"
            except Exception as error:
                return f"{type(error).__name__}: {error}"

        with ThreadPoolExecutor(8) as pool:
            for start in range(0, len(attacks), 50):
                batch = attacks[start : start + 50]
                for attack, problem in zip(batch, pool.map(one, batch), strict=True):
                    tally = tallies.setdefault(attack.kind, Tally(attack.kind))
                    if problem is None:
                        tally.held()
                    else:
                        tally.failed(f"{problem} <- {attack.data[:300]!r}")
                        print(f"failed: {attack.kind}: {problem} <- {attack.data[:300]!r}", flush=True)
                status = http.post("/v1/ask", json={"question": QUESTION}).status_code
                good.held() if status == 200 else good.failed(f"status {status}")
        after = Tally("the same answer and documents afterwards")
        known = {row["id"] for row in documents["documents"]}
        for row in http.get("/v1/documents", params={"limit": 1000}).json()["documents"]:
            if row["id"] not in known:  # an odd upload may be a document for all that
                http.request("DELETE", httpx.URL(server.address).join("/v1/documents/" + quote(row["id"])))
        same = good_answer(http) == before and http.get("/v1/documents").json() == documents
        after.held() if same else after.failed("they differ")
    return [*tallies.values(), good, after]


def quote(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    makers = [maker for maker, share in KINDS for _ in range(share)]
    attacks = [makers[number * 37 % len(makers)](rng) for number in range(given.count)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "documents").mkdir()
        for number in range(12):
            text = f"# Beacon {number}\n\nThe signal word of beacon {number} is sig{number}.\n"
            (folder / "documents" / f"beacon-{number:02d}.md").write_text(text)
        builder = Builder(folder / "index", "tiny")
        builder.build(folder / "documents")
        builder.close()
        options = {"body_seconds": 3, "parse_seconds": 30}
        with little_server(folder / "index", folder, options=options) as server:
            tallies = run(server, attacks)
            alive = server.process.poll() is None
        log = Tally("nothing in the server's log")
        complaints = server.complaints()
        log.failed(" | ".join(complaints[:8])) if complaints or not alive else log.held()
    return show([*tallies, log])


if __name__ == "__main__":
    sys.exit(main())
