import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_cross_encoder import passage_scores, use_tiny_embedder

from rag_ft.errors import PromptTooLongError, WeightsError
from rag_ft.models.cross_encoder import LEAST_ODDS, CrossEncoder
from rag_ft.models.cross_encoder_files import write_cross_encoder
from rag_ft.models.cross_encoder_network import changes_since, new_network
from rag_ft.schema import Passage
from rag_ft.text.spans import Span


def passage(text, title=""):
    return Passage(id=text[:9], document_id="d", text=text, start=0, end=len(text), title=title)


@pytest.fixture
def embedder(tmp_path, monkeypatch):
    return use_tiny_embedder(tmp_path / "embedder", monkeypatch)


@pytest.fixture
def network(embedder):
    return new_network(embedder)[0].eval()


@pytest.fixture(params=[None, 64])
def folder(request, tmp_path, embedder, network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    changes = changes_since(embedder, network, request.param)
    write_cross_encoder(tmp_path / "tuned", changes, embedder, {"confidence": {"value": 0.5}}, "# Card\n")
    return tmp_path / "tuned"


PASSAGES = [
    passage("The crane lifts 42 tonnes. It is inspected in May.", "Harbour"),
    passage("Tea is at four."),
    passage("Rope is kept in the shed " * 9),
]


def test_what_is_written_scores_as_what_was_trained(folder, network, embedder):
    loaded = CrossEncoder.from_pretrained(folder)
    trained = CrossEncoder(network, new_network(embedder)[1], None, {})
    for ours, theirs in zip(loaded.score("How much?", PASSAGES), trained.score("How much?", PASSAGES), strict=True):
        assert ours.relevance == pytest.approx(theirs.relevance, abs=0.02)
        np.testing.assert_allclose(ours.evidence, theirs.evidence, atol=0.02)
        np.testing.assert_allclose(ours.starts, theirs.starts, atol=0.05)
        np.testing.assert_allclose(ours.ends, theirs.ends, atol=0.05)
        assert ours.tokens == theirs.tokens
        assert sum(ours.says) == pytest.approx(1)


def test_tokens_stand_where_they_are_in_the_passages_own_text(folder):
    scores = CrossEncoder.from_pretrained(folder).score("How much?", PASSAGES)
    for read, score in zip(PASSAGES, scores, strict=True):
        assert "".join(read.text[start:end] for start, end in score.tokens) == read.text.replace(" ", "")
        assert len(score.evidence) == len(score.tokens)
        assert score.evidence_of(Span(0, 3)) == pytest.approx(score.evidence[:3].mean())
        assert score.evidence_of(Span(len(read.text), len(read.text) + 4)) == -np.inf


def test_scores_do_not_depend_on_the_company_of_a_batch(folder):
    together = CrossEncoder.from_pretrained(folder).score("How much?", PASSAGES)
    alone = CrossEncoder.from_pretrained(folder)
    for read, score in zip(PASSAGES, together, strict=True):
        assert alone.score("How much?", [read])[0].relevance == pytest.approx(score.relevance, abs=1e-4)


def test_a_pair_is_read_once(folder, monkeypatch):
    encoder = CrossEncoder.from_pretrained(folder)
    first = encoder.score("How much?", PASSAGES)
    monkeypatch.setattr(encoder, "_read", lambda pairs: pytest.fail("read again"))
    assert encoder.score("How much?", PASSAGES[::-1]) == first[::-1]
    assert encoder.relevance_batch([("How much?", PASSAGES[1])]) == [first[1].relevance]


def test_another_record_leaves_the_network_and_the_scores_that_were_read(folder, monkeypatch):
    scorer = CrossEncoder.from_pretrained(folder)
    scores = scorer.score("Who?", PASSAGES)
    other = scorer.with_record({"confidence": {"value": 0.1}})
    monkeypatch.setattr(CrossEncoder, "_read", lambda *_: pytest.fail("read again"))
    assert other.score("Who?", PASSAGES) == scores
    assert (other.record["confidence"]["value"], scorer.record["confidence"]["value"]) == (0.1, 0.5)


def test_equal_passages_of_one_call_are_read_once_and_an_empty_call_gives_nothing(folder):
    encoder = CrossEncoder.from_pretrained(folder)
    assert encoder.score("How much?", []) == []
    one, other = encoder.score("How much?", [PASSAGES[0], PASSAGES[0].model_copy(update={"id": "other"})])
    assert one is other


def test_one_tuned_from_other_weights_is_refused(folder):
    record = json.loads((folder / "cross_encoder.json").read_text())
    record["base"]["sha256"] = "0" * 64
    (folder / "cross_encoder.json").write_text(json.dumps(record))
    with pytest.raises(WeightsError, match=r"was tuned from tiny \(000000000000\).*use the packaged one, or one tuned"):
        CrossEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cross_encoder.json", None, "cross_encoder.json is missing"),
        ("cross_encoder.json", "[]", "is not a record of a cross-encoder"),
        ("cross_encoder.json", '{"base": {"name": 1, "sha256": 2}}', "has no name and checksum"),
        ("cross_encoder.safetensors", "cut off", "does not hold a cross-encoder's weights"),
    ],
)
def test_damaged_files_are_refused_in_a_sentence(folder, name, content, reason):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(WeightsError, match=reason):
        CrossEncoder.from_pretrained(folder)


TEXT = "Tea is at four."


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=len(TEXT), max_size=len(TEXT)), st.data())
def test_a_spans_odds_are_those_of_its_first_and_its_last_token(odds, data):
    words = [Span(0, 3), Span(4, 6), Span(7, 9), Span(10, 14), Span(14, 15)]
    starts, ends = zip(*odds[: len(words)], strict=True)
    scores = passage_scores(0.0, [0.0] * len(words), tuple(words), starts=starts, ends=ends)
    start = data.draw(st.integers(0, len(TEXT) - 1))
    end = data.draw(st.integers(start + 1, len(TEXT)))
    (given_odds,) = scores.span_odds(np.array([[start, end]]))
    inside = [i for i, word in enumerate(words) if word.start < end and start < word.end]
    expected = scores.starts[inside[0]] + scores.ends[inside[-1]] if inside else LEAST_ODDS
    assert given_odds == pytest.approx(expected, abs=1e-5)


def test_a_span_that_the_model_did_not_see_has_the_least_odds():
    seen = passage_scores(0.0, [0.0], (Span(0, 3),), starts=[1.0], ends=[2.0])
    assert seen.span_odds(np.array([[0, 3], [1, 2], [7, 9]])).tolist() == [3.0, 3.0, LEAST_ODDS]
    assert passage_scores(0.0, [], ()).span_odds(np.array([[0, 3]])).tolist() == [LEAST_ODDS]
    assert not len(seen.span_odds(np.zeros((0, 2), dtype=np.int64)))


def test_starts_and_ends_are_measured_against_no_answer_in_the_passage(folder):
    scorer = CrossEncoder.from_pretrained(folder)
    before = scorer.score("How much?", PASSAGES[:1])[0]
    assert before.starts.shape == before.ends.shape == (len(before.tokens),) and before.starts.any()
    with torch.no_grad():
        scorer.network.ends.bias.add_(torch.tensor([3.0, -2.0]))  # of every token, the first included
    after = scorer.score("How much? ", PASSAGES[:1])[0]
    np.testing.assert_allclose(after.starts, before.starts, atol=0.05)
    np.testing.assert_allclose(after.ends, before.ends, atol=0.05)


def test_a_file_from_before_there_were_spans_says_nothing_of_them(tmp_path, embedder, network):
    with torch.no_grad():
        network.ends.weight.normal_()
    changes = {name: value for name, value in changes_since(embedder, network).items() if not name.startswith("ends")}
    write_cross_encoder(tmp_path / "old", changes, embedder, {"confidence": {"value": 0.5}}, "# Card\n")
    scores = CrossEncoder.from_pretrained(tmp_path / "old").score("How much?", PASSAGES)
    assert not any(score.starts.any() or score.ends.any() for score in scores)


def test_a_span_that_runs_past_what_the_model_saw_has_no_odds(folder):
    long = passage("ab " * 400)
    (scores,) = CrossEncoder.from_pretrained(folder).score("Why?", [long])
    seen = scores.tokens[-1].end
    assert scores.cut and seen < len(long.text)
    to_the_end, past_it, beyond = scores.span_odds(np.array([[0, seen], [0, seen + 2], [seen + 1, seen + 3]]))
    assert to_the_end == pytest.approx(scores.starts[0] + scores.ends[-1])
    assert past_it == beyond == LEAST_ODDS
    assert not CrossEncoder.from_pretrained(folder).score("Why?", PASSAGES)[0].cut


def test_a_question_that_leaves_no_room_for_a_passage_is_refused_in_a_sentence(folder):
    encoder = CrossEncoder.from_pretrained(folder)
    assert encoder.score("a " * 508, PASSAGES)
    with pytest.raises(PromptTooLongError, match=r"question has 600 tokens, but the cross-encoder reads at most 508"):
        encoder.score_batch([("Why?", PASSAGES[0]), ("a " * 600, PASSAGES[0])])
    assert encoder.score("How much is it?", PASSAGES)


def test_one_that_is_apart_remembers_scores_of_its_own(folder, monkeypatch):
    first = CrossEncoder.from_pretrained(folder)
    first.score("Who?", PASSAGES)
    other = first.apart()
    monkeypatch.setattr(CrossEncoder, "_read", lambda *_: pytest.fail("read again"))
    assert first.score("Who?", PASSAGES) and other.network is first.network
    with pytest.raises(pytest.fail.Exception, match="read again"):
        other.score("Who?", PASSAGES)
