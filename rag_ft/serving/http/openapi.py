"""Additions to `/openapi.json`: an example of every reply, the errors of each route, and the token."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_TEXT = (
    "Gradient checkpointing keeps only some activations and computes the others again in the backward pass. It costs"
    " one more forward pass, which is about a third more computation in full fine-tuning."
)
_QUOTE = _TEXT[_TEXT.index("It costs") :]
_START = 1197
_PASSAGE = {
    "id": f"kbit-preparation.md#{_START}-{_START + len(_TEXT)}",
    "document_id": "kbit-preparation.md",
    "text": _TEXT,
    "start": _START,
    "end": _START + len(_TEXT),
    "title": "K-bit preparation",
    "source": "datasets/handbook/kbit-preparation.md",
    "headings": ["K-bit preparation", "Why gradient checkpointing is part of it"],
    "page": None,
    "metadata": {"topic": "tuning"},
}
_FINGERPRINT = "1f1b15f559cae2423f57f95ea142e679655e00a56508e3d202db4cb07c4e289c"

ANSWER: dict[str, Any] = {
    "schema_version": 1,
    "question": "What does gradient checkpointing cost?",
    "answer": "one more forward pass",
    "citations": [
        {
            "passage_id": _PASSAGE["id"],
            "document_id": "kbit-preparation.md",
            "source": "datasets/handbook/kbit-preparation.md",
            "title": "K-bit preparation",
            "page": None,
            "quote": _QUOTE,
            "start": _START + _TEXT.index(_QUOTE),
            "end": _START + len(_TEXT),
            "answer_start": _START + _TEXT.index("one more"),
            "answer_end": _START + _TEXT.index("one more") + len("one more forward pass"),
            "verdict": "supported",
            "supported_by": None,
            "boxes": [],
            "answer_boxes": [],
            "page_sizes": [],
            "line": 23,
            "link": None,
        }
    ],
    "confidence": 0.67,
    "abstained": False,
    "complete": True,
    "completion": '{"answer": "one more forward pass", "citations": [1]}',
    "passages": [{"passage": _PASSAGE, "score": 1.0, "rank": 1, "read": True}],
    "usage": {
        "prompt_tokens": 274,
        "completion_tokens": 17,
        "retrieve_seconds": 0.01,
        "read_seconds": 0.31,
        "verify_seconds": 0.0003,
    },
    "provenance": {
        "index": _FINGERPRINT,
        "embedder": "ad79a20dffac5785d00d4d9b8557e8adcbad45fd348c8cb77fb10d0e542d0e87",
        "base_model": "f8cd52ea38076756435f5146cfcbb1705b6d64528c480a8599414e678322a9d0",
        "adapter": "51ee1a873345015ca73dbfcaa340a2c1902ae32c1adf2dc97749e0d57ba41d22",
        "prompt": "b853b0d2b312919e7ed352af9d1925528f188a9c84a8073bcecc049dfa873896",
        "mode": "quote",
        "reading": "separate",
        "index_path": "indexes/handbook",
    },
}
"""A complete answer; a test validates it."""

FEEDBACK: dict[str, Any] = {
    "question": ANSWER["question"],
    "verdict": "right",
    "evidence": {
        "document_id": "kbit-preparation.md",
        "start": ANSWER["citations"][0]["answer_start"],
        "end": ANSWER["citations"][0]["answer_end"],
        "quote": ANSWER["answer"],
    },
}
"""What somebody says of that answer."""

_RECORD_PRINT = "9f2c1b7e04d35a68"
VERDICT: dict[str, Any] = {"by": "ann", "id": "q-17", "record": _RECORD_PRINT, "verdict": "accept"}
"""A verdict on a question record."""

_COUNTS = {"records": 40, "accepted": 11, "edited": 1, "no_answer": 0, "rejected": 4, "skipped": 0}
_REVIEW: dict[str, Any] = {
    "name": "ann",
    "file": "qa.jsonl",
    "counts": _COUNTS,
    "progress": "16 of 40 records judged: 12 accepted (75%), 1 of these edited, 4 rejected (25%)",
    "notes": [],
    "agreement": [
        {
            "name": "ben",
            "judged": 12,
            "same": 10,
            "kappa": 0.625,
            "line": "12 records judged by both, 10 the same (83%); Cohen's kappa 0.62",
        }
    ],
    "last": {"id": "q-16", "record": "51ee1a873345015c", "verdict": "accept"},
    "record": {
        "question": {
            "id": "q-17",
            "question": ANSWER["question"],
            "answers": [ANSWER["answer"]],
            "evidence": [FEEDBACK["evidence"]],
            "answerable": True,
            "kind": "span",
            "yes": None,
            "tags": [],
            "origin": "made",
        },
        "record": _RECORD_PRINT,
        "verdict": None,
        "problems": [],
        "excerpts": [
            {
                "document_id": "kbit-preparation.md",
                "heading": "kbit-preparation.md › K-bit preparation › Why gradient checkpointing is part of it",
                "length": 4210,
                "pieces": [{"start": _START, "text": _TEXT}],
                "evidence": [[FEEDBACK["evidence"]["start"], FEEDBACK["evidence"]["end"]]],
            }
        ],
    },
}

_MODEL = {"id": "rag-ft", "object": "model", "created": 0, "owned_by": "rag_ft"}

REPLIES: dict[tuple[str, str], tuple[str, Any]] = {
    ("post", "/v1/ask"): ("200", ANSWER),
    ("post", "/v1/search"): ("200", {"hits": [{"passage": _PASSAGE, "score": 0.83, "rank": 1}], "index": _FINGERPRINT}),
    ("get", "/v1/documents"): (
        "200",
        {
            "documents": [
                {
                    "id": "kbit-preparation.md",
                    "title": "K-bit preparation",
                    "source": "datasets/handbook/kbit-preparation.md",
                    "passages": 12,
                    "uploaded": False,
                    "original": None,
                }
            ],
            "total": 38,
            "index": _FINGERPRINT,
        },
    ),
    ("post", "/v1/documents"): (
        "201",
        {"id": "crane.txt", "title": "crane", "passages": 1, "characters": 42, "index": _FINGERPRINT},
    ),
    ("get", "/v1/documents/{document_id}"): (
        "200",
        {
            "id": "kbit-preparation.md",
            "title": "K-bit preparation",
            "source": "datasets/handbook/kbit-preparation.md",
            "text": _TEXT,
            "start": _START,
            "length": 4210,
        },
    ),
    ("delete", "/v1/documents/{document_id}"): (
        "200",
        {"removed": "crane.txt", "index": _FINGERPRINT, "trained_adapters": []},
    ),
    ("post", "/v1/feedback"): (
        "200",
        {"id": "5f0c6a1e9b7d4c2f", "verdict": "right", "answer": ANSWER["answer"]},
    ),
    ("get", "/v1/review"): ("200", _REVIEW),
    ("post", "/v1/review"): ("200", _REVIEW),
    ("get", "/v1/models"): ("200", {"object": "list", "data": [_MODEL]}),
    ("get", "/v1/models/{name}"): ("200", _MODEL),
    ("post", "/v1/chat/completions"): (
        "200",
        {
            "id": "chatcmpl-5f0c6a1e9b7d4c2f8a3e1d00",
            "object": "chat.completion",
            "created": 1790000000,
            "model": "rag-ft",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "one more forward pass",
                        "refusal": None,
                        "rag_ft": ANSWER,
                    },
                    "finish_reason": "stop",
                    "logprobs": None,
                }
            ],
            "usage": {"prompt_tokens": 274, "completion_tokens": 17, "total_tokens": 291},
        },
    ),
}


ERRORS: dict[int, str] = {
    400: "Malformed: an invalid Host, Origin or Content-Length header, or a body that is not JSON",
    401: "Missing or invalid token",
    403: "Not allowed: a page of another site, another Host, a missing right, or a change on a read-only server",
    404: "No such adapter, document or record",
    408: "The body did not arrive in time",
    409: "A document with this name exists already, or a document, record or verdict has changed since it was shown",
    413: "The body, the file or the question is too large",
    415: "The body is not JSON",
    422: "The request is invalid",
    429: "Too many requests are waiting or in progress: see Retry-After",
    500: "The server failed: see its log",
    503: "Shutting down, or the index is missing or cannot be written",
    504: "Not answered within the deadline",
    507: "The server's disk is full; nothing was changed",
}
"""Meaning of each status."""

_ALWAYS = (400, 401, 403, 413, 500)
_WITH_BODY = (404, 408, 415, 422, 429, 503, 504)
_STATUSES: dict[tuple[str, str], tuple[int, ...]] = {
    ("post", "/v1/ask"): _WITH_BODY,
    ("post", "/v1/chat/completions"): _WITH_BODY,
    ("post", "/v1/search"): (408, 415, 422, 429, 503),
    ("post", "/v1/feedback"): (404, 408, 409, 415, 422, 429, 503, 507),
    ("get", "/v1/review"): (404, 422, 429, 503),
    ("post", "/v1/review"): (404, 408, 409, 415, 422, 429, 503, 507),
    ("get", "/v1/documents"): (422,),
    ("post", "/v1/documents"): (408, 409, 422, 429, 503, 507),
    ("get", "/v1/documents/{document_id}"): (404, 422),
    ("delete", "/v1/documents/{document_id}"): (404, 422, 503, 507),
    ("get", "/v1/pages/{document_id}"): (404, 422, 429, 503),
    ("get", "/v1/originals/{document_id}"): (404, 422),
    ("get", "/v1/models/{name}"): (404,),
    ("get", "/readyz"): (429,),
}
"""Error statuses of a route, beyond those that every route may reply with."""

_STREAMS = (("post", "/v1/ask"), ("post", "/v1/chat/completions"))
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorReply"}}}
_NOT_READY = {
    "description": "Not ready, and why",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"status": {"type": "string"}, "reason": {"type": "string"}},
                "required": ["status", "reason"],
            }
        }
    },
}


def _add_replies(document: dict[str, Any]) -> None:
    """Add the statuses and media types that each route may reply with."""
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            replies = route["responses"]
            for status in (*_ALWAYS, *_STATUSES.get((method, path), ())):
                replies[str(status)] = {"description": ERRORS[status], "content": _ERROR_CONTENT}
            if (method, path) in _STREAMS:
                replies["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    document["paths"]["/readyz"]["get"]["responses"]["503"] = _NOT_READY
    for name in ("HTTPValidationError", "ValidationError"):  # the framework's own form of errors, not used here
        document["components"]["schemas"].pop(name, None)


def describe(app: FastAPI, *, token: bool) -> None:
    """Extend the application's `/openapi.json` with examples and errors and, if a token is needed, with that."""
    framework_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = framework_openapi()
            for (method, path), (status, example) in REPLIES.items():
                content = document["paths"][path][method]["responses"][status].setdefault("content", {})
                content.setdefault("application/json", {})["example"] = example
            _add_replies(document)
            if token:
                document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"token": []}]
        return framework_openapi()

    app.openapi = openapi  # type: ignore[method-assign]
