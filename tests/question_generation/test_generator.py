import json

import pytest
from tiny_adapters import make_adapter
from tiny_reader import passage

from rag_ft.answering.decoding.generate import Generated
from rag_ft.errors import UsageError
from rag_ft.question_generation.generator import QuestionGenerator, SamplingConfig
from rag_ft.question_generation.source import WriteRequest, WrittenQuestion
from rag_ft.text.openings import ASKED_FOR, OPENINGS

PASSAGES = (
    passage("The quick brown fox jumps over the lazy dog. It was 3.5 metres, near the river.", "a"),
    passage("Rank sixteen adds parameters to the layer. The lazy dog sleeps twice.", "b"),
)
REQUESTS = [WriteRequest(held, kind, seed) for held in PASSAGES for kind in ASKED_FOR for seed in (1, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_llama_dir):
    """A random adapter whose record says that it writes questions."""
    made = make_adapter(tmp_path_factory.mktemp("generator"), tiny_llama_dir, seed=3)
    record = json.loads((made / "rag_ft.json").read_text())
    (made / "rag_ft.json").write_text(json.dumps({**record, "writes_questions": True, "kinds": ["part", "span"]}))
    return made


@pytest.fixture
def generator(folder, tiny_llama_dir):
    return QuestionGenerator.from_pretrained(folder, base=str(tiny_llama_dir))


@pytest.fixture
def write_as(generator, monkeypatch):
    """Stand in for the drawing by questions that the random model would never write."""

    def install(*questions, finished=True, logprob=-0.5):
        encode = generator._reader.loaded.tokenizer.encode
        drawn = [Generated(encode(f" {text}", add_special_tokens=False), [logprob], finished) for text in questions]
        monkeypatch.setattr(generator, "_sampling", SamplingConfig(drafts=1))
        monkeypatch.setattr(generator, "_draw", lambda requests: drawn)
        return generator.write(REQUESTS[: len(questions)])

    return install


def draw(generator, requests):
    """The drafts of each request, as texts."""
    drafts = generator._sampling.drafts
    drawn = generator._draw([(request, generator._context(request)) for request in requests])
    decode = generator._reader.loaded.tokenizer.decode
    texts = [decode(each.tokens, skip_special_tokens=True).strip() for each in drawn]
    return [texts[start : start + drafts] for start in range(0, len(texts), drafts)]


def test_every_draft_begins_as_its_kind_does(generator):
    for request, drafts in zip(REQUESTS, draw(generator, REQUESTS), strict=True):
        for text in drafts:
            assert text.startswith(OPENINGS[request.asked_for]), (request.asked_for, text)


def test_equal_requests_give_equal_questions_whatever_stands_beside_them(generator):
    together = draw(generator, REQUESTS)
    assert together == [draw(generator, [request])[0] for request in REQUESTS]
    assert len({text for drafts in together for text in drafts}) > len(REQUESTS)  # seeds, kinds and drafts tell


def test_the_likeliest_draft_that_is_a_question_is_asked(generator):
    def drawn(text, logprob, finished=True):
        tokens = generator._reader.loaded.tokenizer.encode(f" {text}", add_special_tokens=False)
        return Generated(tokens, [logprob], finished)

    best = generator._best(
        [drawn("Who?", -0.5), drawn("The fox.", -0.1), drawn("Why?", -0.2, finished=False), drawn("What?", -0.3)]
    )
    assert best == ("What?", -0.3)


def test_the_answer_stands_in_the_passage_at_its_span(write_as):
    written = write_as("What does the fox do?", "How many metres was it?", "How does the fox jump?")
    for request, question in zip(REQUESTS, written, strict=False):
        if isinstance(question, WrittenQuestion):
            assert 0 <= question.span.start < question.span.end <= len(request.passage.text)
            assert question.logprob == pytest.approx(-0.5, abs=0.5)
    assert any(isinstance(question, WrittenQuestion) for question in written)


def test_how_and_why_are_answered_by_whole_sentences(write_as):
    (written,) = write_as("Why does the fox jump?")
    assert isinstance(written, WrittenQuestion) and written.kind == "part"
    text = REQUESTS[0].passage.text
    assert text[written.span.start : written.span.end].endswith((".", "river."))


def test_what_has_no_end_and_what_is_no_question_is_said(write_as):
    assert write_as("What does the fox", finished=False) == ["the question has no end"]
    assert write_as("The fox jumps.") == ["it is no question"]
    assert write_as("What is the difference between the fox and the river?") == ["it is no question"]


def test_a_question_that_the_passage_hardly_leads_to_is_not_asked(write_as):
    assert write_as("What does the fox do?", logprob=-0.66) == ["the passage does not lead to it"]
    assert isinstance(write_as("What does the fox do?", logprob=-0.59)[0], WrittenQuestion)


def test_a_passage_that_does_not_fit_is_said_and_the_others_are_written(generator):
    long = passage("fox " * 4000, "long")
    first, second = generator.write([WriteRequest(long, "fact", 0), REQUESTS[0]])
    assert first == "the passage is too long for the generator" and second != first


def test_an_adapter_that_answers_only_is_refused(tmp_path, tiny_llama_dir):
    answering = make_adapter(tmp_path / "answering", tiny_llama_dir, seed=4)
    with pytest.raises(UsageError, match="was not trained to write questions: give a question generator's adapter"):
        QuestionGenerator.from_pretrained(answering, base=str(tiny_llama_dir))


def test_other_weights_have_another_fingerprint(generator, tmp_path, tiny_llama_dir):
    made = make_adapter(tmp_path / "other", tiny_llama_dir, seed=9)
    record = json.loads((made / "rag_ft.json").read_text())
    (made / "rag_ft.json").write_text(json.dumps({**record, "writes_questions": True}))
    assert QuestionGenerator.from_pretrained(made, base=str(tiny_llama_dir)).fingerprint != generator.fingerprint


GATE = passage(
    "The harbour gate is painted green every spring. To open the gate, turn the key twice and wait for the lamp.",
    "gate",
    "Harbour gate",
)


@pytest.mark.slow
def test_the_packaged_generator_asks_what_a_passage_answers():
    requests = [WriteRequest(GATE, kind, seed) for kind in ("fact", "how") for seed in range(3)]
    generator = QuestionGenerator.from_pretrained()
    generator._sampling = SamplingConfig(least_logprob=-3)  # two sentences lead to little
    written = generator.write(requests)
    questions = [question for question in written if isinstance(question, WrittenQuestion)]
    assert questions and all(isinstance(question, WrittenQuestion | str) for question in written)
    for question in questions:
        assert "gate" in question.question or "key" in question.question or "lamp" in question.question
        assert GATE.text[question.span.start : question.span.end].strip()
