from __future__ import annotations

import threading
import time

import pytest

from rag_ft.indexing.shards.crew import Crew


def test_calls_run_at_the_same_time_and_errors_stay_in_their_place():
    crew = Crew()
    meet = threading.Barrier(3)

    def fail() -> int:
        meet.wait(5)
        raise ValueError("no")

    outcome = crew.call({"a": lambda: meet.wait(5) * 0 + 1, "b": fail, "c": lambda: meet.wait(5) * 0 + 3}, 10)
    assert outcome.results == {"a": 1, "c": 3}
    assert [type(error) for error in outcome.errors.values()] == [ValueError]


def test_a_late_call_is_given_up_and_keeps_its_key_until_it_ends():
    crew, end = Crew(), threading.Event()
    start = time.monotonic()
    outcome = crew.call({"slow": lambda: end.wait(20), "fast": lambda: True}, 0.2)
    assert outcome.results == {"fast": True} and "more than 0.2 s" in str(outcome.errors["slow"])
    again = crew.call({"slow": lambda: True, "fast": lambda: True}, 10)
    assert again.results == {"fast": True} and "still busy" in str(again.errors["slow"])
    assert time.monotonic() - start < 5
    end.set()
    deadline = time.monotonic() + 10
    while crew.call({"slow": lambda: True}, 10).errors and time.monotonic() < deadline:
        time.sleep(0.02)
    assert crew.call({"slow": lambda: True}, 10).results == {"slow": True}


def test_a_timeout_that_the_call_itself_raises_is_its_error():
    def fail() -> None:
        raise TimeoutError("the disk")

    crew = Crew()
    for _ in range(2):  # the key stays free
        assert str(crew.call({"a": fail}, 10).errors["a"]) == "the disk"


def test_threads_are_used_again_and_end_when_idle(monkeypatch):
    monkeypatch.setattr("rag_ft.indexing.shards.crew._IDLE_S", 0.2)

    def running() -> int:
        return sum(thread.name == "rag-ft-shard" for thread in threading.enumerate())

    crew, before = Crew(), running()
    for _ in range(100):
        crew.call({number: (lambda: None) for number in range(3)}, 10)
    assert running() - before <= 12
    deadline = time.monotonic() + 10
    while running() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running() <= before


@pytest.mark.parametrize("callers", [8])
def test_many_callers_share_a_crew(callers):
    crew = Crew()
    wrong: list[object] = []

    def ask(number: int) -> None:
        for turn in range(200):
            calls = {key: (lambda key=key, turn=turn: (number, turn, key)) for key in range(3)}
            outcome = crew.call(calls, 10)
            if outcome.results != {key: (number, turn, key) for key in range(3)}:
                wrong.append(outcome)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
