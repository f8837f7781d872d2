"""A server that speaks as much of OpenAI's chat completions as clients need, and says what the test tells it to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer:
    """Speaks just enough of the chat-completions protocol on the loopback address; `answers` are tried in turn.

    An answer is a text, or a text after an HTTP status, a `finish_reason`, or "slow" for none within ten seconds.
    """

    def __init__(self, answers):
        self.answers, self.requests, self.lock = list(answers), [], threading.Lock()
        self.release = threading.Event()
        self.models = ["m"]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.requests.append(body)
                    answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                status, text = answer if isinstance(answer, tuple) else (200, answer)
                if status == "slow":
                    outer.release.wait(10)
                    return
                finish = "stop"
                if isinstance(status, str):
                    status, finish = 200, status
                reply = {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "m",
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
                    ],
                    "usage": {"prompt_tokens": 70, "completion_tokens": 9, "total_tokens": 79},
                }
                data = json.dumps(reply if status == 200 else {"error": {"message": text, "type": "x"}}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                data = json.dumps(
                    {"object": "list", "data": [{"id": name, "object": "model"} for name in outer.models]}
                )
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(data.encode())

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release.set()
        self.http.shutdown()
        self.http.server_close()
