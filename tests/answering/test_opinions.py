import pytest
from tiny_reader import PASSAGES, QUESTIONS, null_probability, tiny_reader

from rag_ft.answering.confidence import PlattScale
from rag_ft.answering.opinions import Opinions
from rag_ft.answering.reading import ReadRequest
from rag_ft.metrics.odds import probability_of

SCALE = PlattScale(slope=0.5, intercept=-1.0)


def opinions(reader, scale=SCALE):
    return Opinions(reader._rows, reader.batches, scale)


@pytest.mark.parametrize("reading", ["joint", "separate"])
def test_an_opinion_is_the_probability_of_anything_but_null_for_each_passage_alone(loaded, reading):
    subject = tiny_reader(loaded, reading=reading)
    requests = [ReadRequest(question, PASSAGES[: 1 + i % 3]) for i, question in enumerate(QUESTIONS)]
    for request, opinion in zip(requests, opinions(subject).of(requests), strict=True):
        plain = [1 - null_probability(subject, request.question, [passage]) for passage in request.passages]
        assert [*map(probability_of, opinion.log_odds)] == pytest.approx([*map(SCALE.scaled, plain)], abs=1e-4)
        prompts = [subject.prompts.build(request.question, [passage], subject.budget) for passage in request.passages]
        assert opinion.prompt_tokens == sum(map(len, prompts))


def test_requests_are_shared_out_among_threads(loaded, monkeypatch):
    requests = [ReadRequest(question, PASSAGES) for question in QUESTIONS * 2]
    alone = [opinions(tiny_reader(loaded)).of([request])[0] for request in requests]
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    for opinion, expected in zip(opinions(tiny_reader(loaded)).of(requests), alone, strict=True):
        assert opinion.log_odds == pytest.approx(expected.log_odds, abs=1e-3)


def test_of_a_passage_that_does_not_fit_there_is_no_opinion(loaded):
    long = PASSAGES[0].model_copy(update={"text": "word " * 4000})
    asked = [ReadRequest(QUESTIONS[0], (long, PASSAGES[1])), ReadRequest(QUESTIONS[0], (long,))]
    mixed, nothing = opinions(tiny_reader(loaded)).of(asked)
    assert mixed.log_odds[0] == 0.0 and mixed.log_odds[1] != 0.0
    assert nothing == ((0.0,), 0)


@pytest.mark.parametrize("null", [0.0, -60.0], ids=["certainly null", "certainly not null"])
def test_of_certain_parts_the_opinion_is_finite(loaded, monkeypatch, null):
    subject = tiny_reader(loaded)
    monkeypatch.setattr(subject.batches, "start", lambda requests: [setattr(row, "null", null) for (row,) in requests])
    (opinion,) = opinions(subject).of([ReadRequest(QUESTIONS[0], PASSAGES[:1])])
    assert opinion.log_odds == ((-30.0,) if null == 0.0 else (30.0,))
