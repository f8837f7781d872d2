"""A network that is cut in the middle of a transfer: a relay to a server, which resets its connections when told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_RESET = struct.pack("ii", 1, 0)
"""Has a socket say, when it closes, that its connection is broken, and not that it has ended."""


class Relay:
    """Passes bytes between clients and a server until it is cut; then nobody gets through until it is mended."""

    def __init__(self, server: tuple[str, int] | str) -> None:
        """`server`: host and port, or the path of a socket."""
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._left: dict[str, int] = {}
        self._down = False
        self.passed = {"up": 0, "down": 0}
        """Bytes from clients to the server, and back."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, way: str, size: int) -> None:
        """Cut all connections once so many more bytes have passed that way."""
        with self._lock:
            self._left = {way: size}

    def mend(self) -> None:
        with self._lock:
            self._left, self._down = {}, False

    @property
    def is_down(self) -> bool:
        return self._down

    def close(self) -> None:
        self._cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                with self._lock:
                    if self._down:
                        client.close()
                        continue
                    if isinstance(self._server, str):
                        server = socket.socket(socket.AF_UNIX)
                        server.connect(self._server)
                    else:
                        server = socket.create_connection(self._server)
                    self._open += [client, server]
                threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        up = threading.Thread(target=self._pass, args=(client, server, "up"), daemon=True)
        up.start()
        self._pass(server, client, "down")
        up.join()
        with self._lock:
            self._open = [connection for connection in self._open if connection not in (client, server)]
        client.close()
        server.close()

    def _pass(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                with self._lock:
                    self.passed[way] += len(data)
                    left = self._left.get(way)
                    if left is not None:
                        self._left[way] = left - len(data)
                        data = data[: max(0, left)]
                target.sendall(data)
                if left is not None and left <= len(data):
                    self._cut()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _cut(self) -> None:
        with self._lock:
            self._down = True
            for connection in self._open:
                _reset(connection)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.shutdown(socket.SHUT_RDWR)  # its threads close it


@contextlib.contextmanager
def relay(server: tuple[str, int] | str) -> Iterator[Relay]:
    """A relay to a server, which ends with the context."""
    made = Relay(server)
    try:
        yield made
    finally:
        made.close()
