"""A Ray cluster of this machine, started for tests and ended by its own handle."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

START_S = 120
"""Seconds in which a head must be ready, also on a busy machine."""


def free_port() -> int:
    """A port that nobody listens at, and that the system gives to nobody: Ray asks it for many."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class RayCluster:
    """A head with some processors, which knows the modules of the package and of the tests."""

    def __init__(self, cpus: int = 2, token: str | None = None) -> None:
        self.folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # paths of sockets must be short
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        program = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port", str(port)]
        program += ["--num-cpus", str(cpus), "--node-ip-address", "127.0.0.1", "--temp-dir", self.folder]
        program += ["--include-dashboard", "false", "--disable-usage-stats", "--object-store-memory", "100000000"]
        path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        environment |= (
            {"RAY_AUTH_MODE": "disabled"} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        )
        log = Path(self.folder) / "start.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                program, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while "Ray runtime started" not in log.read_text(errors="replace"):  # it listens before it is ready
            if time.monotonic() > deadline or self._process.poll() is not None:
                said = log.read_text(errors="replace")[-500:]
                self.stop()
                raise OSError(f"the cluster did not start: {said}")
            time.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def cluster_or_skip(cpus: int) -> Iterator[RayCluster]:
    """What a fixture yields from: a cluster that ends with it; where none can be started, its tests are skipped."""
    try:
        cluster = RayCluster(cpus)
    except OSError as error:  # where the ports or the shared memory that it needs are not to be had
        pytest.skip(f"no Ray cluster can be started here: {error}")
    yield cluster
    cluster.stop()
