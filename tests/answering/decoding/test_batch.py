import pytest
from tiny_reader import PASSAGES, QUESTIONS, tiny_reader

from rag_ft.answering.reading import ReadRequest
from rag_ft.models.cores import run_side_by_side


@pytest.mark.parametrize("reading", ["joint", "separate"])
@pytest.mark.parametrize("mode", ["quote", "schema", "free"])
def test_a_batch_reads_as_one_by_one(loaded, mode, reading):
    subject = tiny_reader(loaded, mode=mode, reading=reading)
    requests = [ReadRequest(q, PASSAGES[: 1 + i % 3]) for i, q in enumerate(QUESTIONS)]
    for result, request in zip(subject.read_batch(requests), requests, strict=True):
        alone = subject.read(request.question, request.passages, request.threshold)
        assert (result.answer, result.completion, result.read) == (alone.answer, alone.completion, alone.read)
        assert result.confidence == pytest.approx(alone.confidence, abs=1e-3)


@pytest.mark.parametrize("cache_mb", [0, 64])
@pytest.mark.parametrize("reading", ["joint", "separate"])
def test_requests_read_side_by_side_read_as_one_by_one(loaded, monkeypatch, reading, cache_mb):
    shared_out = []
    monkeypatch.setattr(
        "rag_ft.answering.decoding.batch.run_side_by_side",
        lambda work, threads: shared_out.append((len(work), threads)) or run_side_by_side(work, threads),
    )
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    requests = [ReadRequest(q, PASSAGES[: i % 4]) for i, q in enumerate(QUESTIONS * 4)]
    together = tiny_reader(loaded, reading=reading, passage_cache_mb=cache_mb).read_batch(requests)
    assert shared_out == [(2, 2)]
    alone = tiny_reader(loaded, reading=reading)
    for result, request in zip(together, requests, strict=True):
        expected = alone.read(request.question, request.passages, request.threshold)
        assert (result.answer, result.completion, result.read) == (expected.answer, expected.completion, expected.read)
        assert result.confidence == pytest.approx(expected.confidence, abs=1e-4)
    assert shared_out == [(2, 2)]  # a single request is not shared out


@pytest.mark.parametrize("settings", [{"mode": "schema"}, {"mode": "free"}, {"decoding": "greedy"}])
def test_what_is_decoded_token_by_token_is_read_together(loaded, monkeypatch, settings):
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    assert tiny_reader(loaded).side_threads == 2
    assert tiny_reader(loaded, **settings).side_threads == 1
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    assert tiny_reader(loaded).side_threads == 1


def test_an_error_of_one_part_is_the_batchs(loaded, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    monkeypatch.setattr("rag_ft.answering.decoding.quote.search_spans", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiny_reader(loaded).read_batch([ReadRequest(question, PASSAGES) for question in QUESTIONS])
