"""A Ray cluster: reached, asked what it has room for, and left as it was found."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from typing import Any

from rag_ft.errors import EngineError, UsageError, first_line
from rag_ft.extras import require_extra

CONNECT_S = 5.0
PROBE_S = 30.0
"""Seconds in which what listens at an address must answer as a cluster; starting to ask takes some of them."""
_AUTO = "auto"
_CLIENT = "ray://"
_AUTH_MODE = "RAY_AUTH_MODE"
_NOISE = r"^A worker died or was killed|^Task \S+ failed\. There are|^\d+ Workers \(tasks / actors\) killed"
"""What Ray prints on stdout for each worker that dies; its work is given out again, or the error says so."""
_START = "start one with 'ray start --head', or leave the address out to use this machine"


class Cluster:
    """A Ray cluster and what each worker needs of it; `connect` and `disconnect` belong together.

    `work` begins the sentence if Ray is missing: "answering on a Ray cluster". `address`: host:port of a running
    cluster, or `auto`; None: the one in RAY_ADDRESS, else a cluster of this machine's processors, which ends with
    `disconnect`. `workers`: None stands for as many as the cluster has room for. Raises MissingExtraError, UsageError.
    """

    def __init__(self, work: str, address: str | None, workers: int | None, *, cpus: float, gpus: float) -> None:
        """`cpus`, `gpus`: what each worker needs of the cluster."""
        require_extra("ray", work)
        if workers is not None and workers < 1:
            raise UsageError(f"workers is {workers} but must be 1 or more")
        for name, need in (("cpus", cpus), ("gpus", gpus)):
            if not 0 <= need < math.inf:
                raise UsageError(f"{name} is {need:g} but must be 0 or more: what one worker needs of the cluster")
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._wanted = workers
        self.cpus = cpus
        self.gpus = gpus
        self.ray: Any = None
        """The module, once connected."""
        self._auth_mode: str | None = None
        self._ours = False
        """Whether the connection is this object's, and ends with it."""

    def connect(self) -> None:
        """Connect this process, unless it is connected already. Raises UsageError, EngineError."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", _NOISE)
        import ray

        self.ray = ray
        if ray.is_initialized():
            return
        if self._address is not None and self._address != _AUTO:
            _check_reachable(self._address)
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}
        if self._address is None:
            cpus = max(os.cpu_count() or 1, self._wanted or 1)
            options |= {"include_dashboard": False, "num_cpus": cpus}
        else:
            options["address"] = self._address
        self._auth_mode = os.environ.get(_AUTH_MODE)  # Ray sets it for a cluster of its own
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises ConnectionError, ValueError and RuntimeError, among others
            where = "on this machine" if self._address is None else f"at {self._address}"
            raise EngineError(f"no Ray cluster can be used {where} ({first_line(error)}): {_START}") from error
        self._ours = True

    def disconnect(self) -> None:
        """End the connection, if it was made here."""
        if not self._ours:
            return
        self.ray.shutdown()
        self._ours = False
        if self._auth_mode is None:
            os.environ.pop(_AUTH_MODE, None)

    def room(self) -> int:
        """Number of workers to start. Raises EngineError where the cluster has no room for one."""
        has = self.ray.cluster_resources()
        rooms = [int(has.get(name, 0) // need) for name, need in (("CPU", self.cpus), ("GPU", self.gpus)) if need]
        room = min(rooms, default=1)
        if room < 1:
            raise EngineError(
                f"the Ray cluster has {has.get('CPU', 0):g} processors and {has.get('GPU', 0):g} GPUs, and a worker"
                f" needs {self.cpus:g} and {self.gpus:g}: add machines, or ask for less"
            )
        return room if self._wanted is None else min(room, self._wanted)


def _check_reachable(address: str) -> None:
    """Raise EngineError where no cluster listens: Ray itself would try for minutes, and then end this process."""
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"the address {address!r} is not HOST:PORT: give the cluster's head, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise EngineError(f"no Ray cluster answers at {address} ({error.strerror or error}): {_START}") from error
    if address.startswith(_CLIENT):
        return
    probe = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run([*probe, "--skip-version-check"], capture_output=True, timeout=PROBE_S)
        status, said = done.returncode, done.stderr
    except subprocess.TimeoutExpired:
        status, said = 1, b""
    if b"InvalidAuthToken" in said:
        raise EngineError(
            f"the Ray cluster at {address} asks for another token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to its"
            " token, as 'ray get-auth-token' prints it there"
        )
    if status:
        raise EngineError(f"what listens at {address} does not answer as a Ray cluster: give the address of its head")
