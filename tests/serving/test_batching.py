import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from rag_ft.errors import ClosingError, DeadlineError, QueueFullError
from rag_ft.serving.batching import Ask, Batcher


class Reading:
    """Stands for the engine: notes the batches, takes its time, and finishes none while it is held."""

    def __init__(self, seconds: float = 0.05, *, held: bool = False) -> None:
        self.seconds = seconds
        self.batches: list[list[str]] = []
        self.released = threading.Event()
        if not held:
            self.released.set()

    async def has_begun(self) -> None:
        """Wait until a batch is in the model."""
        deadline = time.monotonic() + 60
        while not self.batches and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
        assert self.batches

    def __call__(self, asks: Sequence[Ask], on_passages) -> list:
        self.batches.append([ask.question for ask in asks])
        for i, _ in enumerate(asks):
            on_passages(i, [])
        assert self.released.wait(60)
        time.sleep(self.seconds)
        return [ValueError(ask.question) if ask.question == "bad" else f"answer to {ask.question}" for ask in asks]


def start_batcher(
    reading: Reading, *, queue: int = 64, batch: int = 4, deadline_seconds: float = 60.0, side: int = 1
) -> Batcher:
    batcher = Batcher(reading, queue=queue, batch=batch, deadline_seconds=deadline_seconds, side=side)
    batcher.start()
    return batcher


async def asked_again_and_again(batcher: Batcher, *, clients: int, turns: int, apart_s: float) -> None:
    """Clients that ask again a moment after each answer, each after its own delay."""

    async def client(i: int) -> None:
        for turn in range(turns):
            await asyncio.sleep(apart_s * i)
            await batcher.answer(Ask(f"{i}.{turn}", 3), str(i))

    await asyncio.gather(*(client(i) for i in range(clients)))


async def test_questions_that_arrive_together_are_read_together_and_each_gets_its_own_answer():
    reading = Reading()
    batcher = start_batcher(reading)
    answers = await asyncio.gather(*(batcher.answer(Ask(f"q{n}", 3), "a") for n in range(9)))
    await batcher.close()
    assert answers == [f"answer to q{n}" for n in range(9)]
    assert len(reading.batches) <= 4 and max(map(len, reading.batches)) == 4


class Threads(Reading):
    """Notes which thread reads what, and how many batches were read at the same time."""

    def __init__(self, seconds: float = 0.05, *, held: bool = False) -> None:
        super().__init__(seconds, held=held)
        self.threads: list[str] = []
        self.most = self._now = 0

    def __call__(self, asks: Sequence[Ask], on_passages) -> list:
        self.threads.append(threading.current_thread().name.rpartition("_")[0])
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return super().__call__(asks, on_passages)
        finally:
            self._now -= 1


async def test_a_question_by_itself_has_all_processors_and_several_are_shared_out():
    reading = Threads()
    batcher = start_batcher(reading, batch=8, side=2)
    for i in range(3):
        await batcher.answer(Ask(f"q{i}", 3), "a")
    assert reading.threads == ["rag-ft-reader"] * 3
    answers = await asyncio.gather(*(batcher.answer(Ask(f"q{n}", 3), str(n)) for n in range(8)))
    assert answers == [f"answer to q{n}" for n in range(8)]
    assert sorted(map(len, reading.batches[3:])) == [4, 4]
    assert reading.threads[3:] == ["rag-ft-reader-side"] * 2 and reading.most == 2
    await batcher.answer(Ask("last", 3), "a")
    assert reading.threads[-1] == "rag-ft-reader"
    await batcher.close()


async def test_nothing_is_begun_beside_a_question_that_has_all_processors():
    reading = Threads(0.1, held=True)
    batcher = start_batcher(reading, batch=8, side=2)
    first = asyncio.ensure_future(batcher.answer(Ask("first", 3), "a"))
    await reading.has_begun()
    rest = [asyncio.ensure_future(batcher.answer(Ask(f"q{n}", 3), "b")) for n in range(4)]
    await asyncio.sleep(0.01)
    assert reading.batches == [["first"]] and batcher.waiting == 4
    reading.released.set()
    await asyncio.gather(first, *rest)
    await batcher.close()
    assert reading.batches[0] == ["first"] and sorted(map(len, reading.batches[1:])) == [2, 2]
    assert reading.most == 2


async def test_a_batch_that_is_done_makes_place_while_the_other_goes_on():
    done = threading.Event()

    def run(asks, on_passages):
        if asks[0].question == "long":
            assert done.wait(60)
        return [f"answer to {ask.question}" for ask in asks]

    batcher = Batcher(run, queue=64, batch=1, deadline_seconds=60, side=2)
    batcher.start()
    long = asyncio.ensure_future(batcher.answer(Ask("long", 3), "a"))
    await asyncio.gather(*(batcher.answer(Ask(f"q{n}", 3), "b") for n in range(5)))
    assert not long.done()
    done.set()
    await batcher.close()
    assert await long == "answer to long"


async def test_clients_of_two_batches_stay_evenly_shared_out(monkeypatch):
    monkeypatch.setattr("rag_ft.serving.batching.GATHER_S", 1.0)
    reading = Threads(0.03)
    batcher = start_batcher(reading, batch=8, side=2)
    await asked_again_and_again(batcher, clients=8, turns=8, apart_s=0.001)
    await batcher.close()
    sizes = [len(batch) for batch in reading.batches[2:-2]]
    assert max(sizes) <= 5 and sizes.count(4) >= len(sizes) / 2


async def test_one_that_asks_once_is_not_held_up_by_one_that_asks_twenty_times():
    reading = Reading(held=True)
    batcher = start_batcher(reading, batch=2)
    many = [asyncio.ensure_future(batcher.answer(Ask(f"many{n}", 3), "busy")) for n in range(20)]
    await reading.has_begun()
    single = asyncio.ensure_future(batcher.answer(Ask("single", 3), "other"))
    await asyncio.sleep(0)
    reading.released.set()
    await single
    assert "single" in reading.batches[1]
    await asyncio.gather(*many)
    await batcher.close()


async def test_a_question_with_many_passages_is_not_put_together_with_all_others():
    reading = Reading()
    batcher = start_batcher(reading, batch=8)
    await asyncio.gather(*(batcher.answer(Ask(f"q{n}", 20), "a") for n in range(8)))
    await batcher.close()
    assert max(map(len, reading.batches)) == 2


async def test_over_the_bound_is_refused_at_once_and_told_when_to_come_again():
    reading = Reading(held=True)
    batcher = start_batcher(reading, queue=2, batch=1)
    kept = [asyncio.ensure_future(batcher.answer(Ask("first", 3), "a"))]
    await reading.has_begun()
    kept += [asyncio.ensure_future(batcher.answer(Ask(f"q{n}", 3), "a")) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError, match="2 questions are waiting") as caught:
        await batcher.answer(Ask("too many", 3), "a")
    assert caught.value.retry_after >= 1
    reading.released.set()
    await asyncio.gather(*kept)
    await batcher.close()
    assert ["too many"] not in reading.batches


async def test_where_the_queue_is_full_who_has_most_in_it_gives_way():
    reading = Reading(held=True)
    batcher = start_batcher(reading, queue=6, batch=1)
    many = [asyncio.ensure_future(batcher.answer(Ask(f"many{n}", 3), "busy")) for n in range(7)]
    await reading.has_begun()  # the first is in the model, six wait
    few = [asyncio.ensure_future(batcher.answer(Ask(f"few{n}", 3), "other")) for n in range(4)]
    await asyncio.sleep(0)
    reading.released.set()
    answers = await asyncio.gather(*many, *few, return_exceptions=True)
    await batcher.close()
    refused = [i for i, answer in enumerate(answers) if isinstance(answer, QueueFullError)]
    # Three places each: the fourth question of the newcomer would leave it more than the other.
    assert refused == [4, 5, 6, 10]
    assert batcher.waiting == 0


async def test_clients_that_ask_again_at_once_are_read_together_again(monkeypatch):
    monkeypatch.setattr("rag_ft.serving.batching.GATHER_S", 1.0)
    reading = Reading(0.05)
    batcher = start_batcher(reading, batch=8)
    await asked_again_and_again(batcher, clients=6, turns=5, apart_s=0.002)
    await batcher.close()
    # Without waiting, the first of them would be read alone each time and the five others after it.
    assert [len(batch) for batch in reading.batches[2:]].count(6) >= 2


async def test_a_single_client_never_waits_for_others(monkeypatch):
    monkeypatch.setattr("rag_ft.serving.batching.GATHER_S", 60.0)
    reading = Reading(0.0)
    batcher = start_batcher(reading, batch=8)
    begin = time.monotonic()
    for i in range(20):
        await batcher.answer(Ask(str(i), 3), "a")
    assert time.monotonic() - begin < 60
    await batcher.close()


async def test_a_client_that_goes_frees_its_place_and_is_never_read():
    reading = Reading(held=True)
    batcher = start_batcher(reading, batch=1)
    first = asyncio.ensure_future(batcher.answer(Ask("first", 3), "a"))
    await reading.has_begun()
    dropped = asyncio.ensure_future(batcher.answer(Ask("gone", 3), "a"))
    await asyncio.sleep(0)
    assert batcher.waiting == 1
    dropped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dropped
    assert batcher.waiting == 0
    reading.released.set()
    await first
    await batcher.close()
    assert reading.batches == [["first"]]


async def test_an_answer_that_comes_too_late_is_an_error_and_the_worker_goes_on():
    reading = Reading(held=True)
    batcher = start_batcher(reading, deadline_seconds=0.05)
    with pytest.raises(DeadlineError, match="no answer within"):
        await batcher.answer(Ask("late", 3), "a")
    reading.released.set()
    batcher._deadline = 60
    assert await batcher.answer(Ask("later", 3), "a") == "answer to later"
    await batcher.close()


async def test_a_question_that_fails_leaves_the_others_of_its_batch_alone():
    batcher = start_batcher(Reading())
    results = await asyncio.gather(
        *(batcher.answer(Ask(text, 3), "a") for text in ("x", "bad", "y")), return_exceptions=True
    )
    await batcher.close()
    assert results[0] == "answer to x" and results[2] == "answer to y" and isinstance(results[1], ValueError)


async def test_a_batch_that_fails_as_a_whole_does_not_end_the_worker():
    calls = []

    def run(asks, on_passages):
        calls.append(len(asks))
        if len(calls) == 1:
            raise RuntimeError("no")
        return ["fine"] * len(asks)

    batcher = Batcher(run, queue=4, batch=4, deadline_seconds=60)
    batcher.start()
    with pytest.raises(RuntimeError):
        await batcher.answer(Ask("a", 3), "a")
    assert await batcher.answer(Ask("b", 3), "a") == "fine" and batcher.alive
    await batcher.close()


async def test_closing_answers_what_waits_and_takes_nothing_more():
    reading = Reading(held=True)
    batcher = start_batcher(reading, batch=1)
    waiting = [asyncio.ensure_future(batcher.answer(Ask(f"q{n}", 3), "a")) for n in range(3)]
    await reading.has_begun()
    closing = asyncio.ensure_future(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(ClosingError):
        await batcher.answer(Ask("too late", 3), "a")
    reading.released.set()
    assert await asyncio.gather(*waiting) == ["answer to q0", "answer to q1", "answer to q2"]
    await closing
    assert not batcher.alive


async def test_passages_are_told_before_the_answer():
    reading = Reading(held=True)
    batcher = start_batcher(reading)
    passages = []
    arrived = asyncio.Event()
    task = asyncio.ensure_future(batcher.answer(Ask("q", 3), "a", lambda hits: (passages.append(hits), arrived.set())))
    await asyncio.wait_for(arrived.wait(), 60)
    assert passages == [[]] and not task.done()
    reading.released.set()
    await task
    await batcher.close()


async def test_every_batch_is_reported_with_its_questions_and_seconds():
    reported = []
    batcher = Batcher(
        Reading(0.05), queue=8, batch=4, deadline_seconds=60, on_batch=lambda *batch: reported.append(batch)
    )
    batcher.start()
    await asyncio.gather(*(batcher.answer(Ask(f"q{n}", 3), "a") for n in range(3)))
    await batcher.close()
    assert sum(questions for questions, _ in reported) == 3 and all(seconds >= 0.05 for _, seconds in reported)
