"""Blocks answered on a real Ray cluster of this machine, with a reader that follows a script."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from ray_cluster import RayCluster, cluster_or_skip
from scripted_reader import KILLS, rows_of, scripted_loader, scripted_pipeline

from rag_ft.answering.bulk.on_ray import RayEngine
from rag_ft.answering.bulk.run import answer_questions
from rag_ft.errors import EngineError, IndexMissingError, UsageError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

QUESTIONS, BLOCK = 60, 5


@pytest.fixture(scope="module")
def cluster():
    yield from cluster_or_skip(cpus=2)


@pytest.fixture(scope="module")
def folder(world):
    return world[0].path


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    lines = [{"id": f"q{i}", "question": f"What is rule {i % 7} of topic {i % 11}?"} for i in range(QUESTIONS)]
    lines[7]["question"] = " "
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read_by(log):
    """Process → questions that it read, in order."""
    by_process = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        process, _, question = line.partition(" ")
        by_process.setdefault(int(process), []).append(question)
    return by_process


def test_two_workers_give_the_rows_of_this_process_and_a_killed_one_loses_nothing(cluster, folder, questions, tmp_path):
    answer_questions(questions, tmp_path / "local.jsonl", scripted_pipeline(folder), block=BLOCK)
    log, output, killed = tmp_path / "log.txt", tmp_path / "answers.jsonl", []

    def kill_one():
        while len(read_by(log)) < 2 or min(map(len, read_by(log).values())) < 2 * BLOCK:
            time.sleep(0.01)
        killed.append(next(iter(read_by(log))))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    with RayEngine(scripted_loader(folder, 0.3, log), address=cluster.address, workers=2) as engine:
        report = answer_questions(questions, output, engine, block=BLOCK)
    killer.join(1)
    assert rows_of(output) == rows_of(tmp_path / "local.jsonl")
    assert (report.questions, report.failed) == (QUESTIONS, 1)
    read = read_by(log)
    assert killed and len(read) in (2, 3)  # a third took the killed one's place, if there was time
    again = sum(map(len, read.values())) - (QUESTIONS - 1)
    assert 0 <= again <= BLOCK, "more than the block of the killed worker was read again"


def test_a_run_begun_in_this_process_is_finished_by_the_cluster(cluster, folder, questions, tmp_path, monkeypatch):
    log, output = tmp_path / "log.txt", tmp_path / "answers.jsonl"
    pipeline = scripted_pipeline(folder)
    monkeypatch.setattr(pipeline.reader, "read_batch", _failing_after(pipeline.reader.read_batch, 4))
    with pytest.raises(KeyboardInterrupt):
        answer_questions(questions, output, pipeline, block=BLOCK)
    with RayEngine(scripted_loader(folder, 0, log), address=cluster.address) as engine:
        report = answer_questions(questions, output, engine, block=BLOCK)
    assert report.done_before == 4 * BLOCK
    assert sum(map(len, read_by(log).values())) == QUESTIONS - 4 * BLOCK
    assert len(rows_of(output)) == QUESTIONS


def _failing_after(read, count):
    calls = iter(range(1000))

    def failing(requests):
        if next(calls) == count:
            raise KeyboardInterrupt
        return read(requests)

    return failing


def test_a_block_that_ends_every_worker_ends_the_run_and_the_rest_is_kept(cluster, folder, questions, tmp_path):
    lines = questions.read_text().splitlines()
    lines[12] = json.dumps({"id": "q12", "question": f"Will this {KILLS}?"})
    questions.write_text("\n".join(lines))
    output = tmp_path / "answers.jsonl"
    with (
        RayEngine(scripted_loader(folder), address=cluster.address, workers=2) as engine,
        pytest.raises(EngineError, match=r"3 workers died over the questions 'q10' to 'q14'.*more memory"),
    ):
        answer_questions(questions, output, engine, block=BLOCK)
    assert not output.exists()
    assert len(list((tmp_path / "answers.jsonl.partial" / "blocks").iterdir())) >= 2


def test_what_a_worker_cannot_load_is_said_in_its_own_words(cluster, folder, questions, tmp_path):
    with (
        RayEngine(scripted_loader(tmp_path / "none"), address=cluster.address, workers=1) as engine,
        pytest.raises(IndexMissingError, match="none"),
    ):
        answer_questions(questions, tmp_path / "answers.jsonl", engine)
    with (
        RayEngine(scripted_loader(folder, nonsense=1), address=cluster.address, workers=1) as engine,
        pytest.raises(EngineError, match=r"a worker failed \(TypeError: .*nonsense"),
    ):
        answer_questions(questions, tmp_path / "answers.jsonl", engine)


def test_more_than_the_cluster_has_is_said(cluster, folder):
    with pytest.raises(EngineError, match="has 2 processors and 0 GPUs, and a worker needs 3 and 0"):
        RayEngine(scripted_loader(folder), address=cluster.address, cpus=3).identity()


def test_no_cluster_at_the_address_is_said_within_seconds(folder):
    started = time.monotonic()
    with pytest.raises(EngineError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 \(Connection refused\): start"):
        RayEngine(scripted_loader(folder), address="127.0.0.1:1").identity()
    for wrong in ("nowhere", "host:", ":6379", "host:99999"):
        with pytest.raises(UsageError, match="is not HOST:PORT"):
            RayEngine(scripted_loader(folder), address=wrong).identity()
    for wrong in ({"workers": 0}, {"gpus": -1}, {"cpus": float("nan")}):
        with pytest.raises(UsageError, match=r"is .* but must be"):
            RayEngine(scripted_loader(folder), **wrong)
    assert time.monotonic() - started < 20


def test_what_listens_at_the_address_and_is_no_cluster_is_said(folder, monkeypatch):
    monkeypatch.setattr("rag_ft.cluster.PROBE_S", 4.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(EngineError, match=f"what listens at {address} does not answer as a Ray cluster"):
            RayEngine(scripted_loader(folder), address=address).identity()


def test_a_cluster_that_asks_for_a_token_is_said(folder, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    cluster = RayCluster(cpus=1, token=secrets.token_hex(32))
    try:
        with pytest.raises(EngineError, match=f"the Ray cluster at {cluster.address} asks for another token"):
            RayEngine(scripted_loader(folder), address=cluster.address).identity()
    finally:
        cluster.stop()


ON_THIS_MACHINE = """
import sys
from pathlib import Path
from rag_ft.answering.bulk.on_ray import RayEngine
from rag_ft.answering.bulk.run import answer_questions
from scripted_reader import scripted_loader
index, questions, output, block = sys.argv[1:]
with RayEngine(scripted_loader(Path(index)), workers=1) as engine:
    answer_questions(Path(questions), Path(output), engine, block=int(block))
"""


def test_without_an_address_this_machine_is_the_cluster(folder, questions, tmp_path):
    answer_questions(questions, tmp_path / "local.jsonl", scripted_pipeline(folder), block=BLOCK)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # else Ray writes one into the home folder
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    # In a process of its own: after a cluster in this one, Ray Data's workers on another cluster would not start.
    arguments = [folder, questions, tmp_path / "answers.jsonl", BLOCK]
    subprocess.run([sys.executable, "-c", ON_THIS_MACHINE, *map(str, arguments)], env=environment, check=True)
    assert rows_of(tmp_path / "answers.jsonl") == rows_of(tmp_path / "local.jsonl")
