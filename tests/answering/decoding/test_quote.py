import pytest
import torch
from tiny_reader import PASSAGES, QUESTIONS, exact_logprob, passage, tiny_reader

from rag_ft.answering import completion
from rag_ft.answering.decoding.candidates import answer_spans, find_parts
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.questions.wording import repeats_question


def spans_of(passages) -> set[str]:
    return {passage.text[span.start : span.end] for passage in passages for span in answer_spans(passage)}


@pytest.mark.parametrize("question", QUESTIONS)
def test_quote_mode_finds_the_likeliest_of_all_spans(loaded, question):
    subject = tiny_reader(loaded, reading="joint")
    request = ReadRequest(question, PASSAGES)
    ((row,),) = subject.read_rows([request])
    repeats = repeats_question(question)
    texts = [text for text in spans_of(PASSAGES) if not repeats(text)]
    exact = {text: exact_logprob(subject, request, text) for text in texts}
    # Up to what rounding the passages' keys and values to 16 bits does, which the plain pass does not.
    assert row.scored[row.best] == pytest.approx(max(exact.values()), abs=2e-2)
    for text, value in row.scored.items():
        assert value == pytest.approx(exact[text], abs=2e-2)


@pytest.mark.parametrize("decoding", ["search", "greedy"])
@pytest.mark.parametrize("reading", ["joint", "separate"])
def test_an_answer_never_only_says_the_question_again(loaded, decoding, reading):
    subject = tiny_reader(loaded, reading=reading, decoding=decoding)
    repeated = "What is it that the quick brown fox jumps over, the lazy dog, near the river"
    answers = [subject.read(question, [PASSAGES[0]]).answer for question in (repeated, f"{repeated} or not")]
    assert not repeats_question(repeated)(answers[0])
    assert repeats_question(repeated)(answers[1])  # what it would have said


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_search_is_never_less_likely_than_greedy_decoding_under_the_quote_grammar(loaded, question):
    request = ReadRequest(question, PASSAGES)
    search, greedy = tiny_reader(loaded, reading="joint"), tiny_reader(loaded, reading="joint", decoding="greedy")
    result, reference = (
        search.read(request.question, request.passages, request.threshold),
        greedy.read(request.question, request.passages, request.threshold),
    )
    assert reference.answer in spans_of(PASSAGES)
    exact = [exact_logprob(search, request, candidate.answer) for candidate in (result, reference)]
    assert exact[0] >= exact[1] - 1e-4


@pytest.mark.parametrize("reading", ["joint", "separate"])
def test_a_quote_stands_in_the_passage_that_it_cites(loaded, reading):
    for question in QUESTIONS:
        result = tiny_reader(loaded, reading=reading).read(question, PASSAGES)
        (cited,) = result.cited
        assert cited.passage.text[cited.span.start : cited.span.end] == result.answer
        parsed = completion.parse(result.completion, len(PASSAGES))
        assert parsed.answer == result.answer
        assert PASSAGES[parsed.citations[0] - 1] is cited.passage


def test_passages_without_a_span_give_null(loaded):
    result = tiny_reader(loaded).read("What?", [passage("?!")])
    assert (result.answer, result.abstained, result.complete) == (None, True, True)


def test_the_best_answer_is_the_one_with_the_best_odds_against_its_own_null(loaded):
    subject = tiny_reader(loaded, reading="separate", threshold=0.0)
    for question in QUESTIONS:
        alone = {}
        for passage_ in PASSAGES:
            request = ReadRequest(question, (passage_,))
            ((row,),) = subject.read_rows([request])
            if row.best is not None:
                alone[passage_.id] = (row.scored[row.best] - row.null, row.best)
        result = subject.read(question, PASSAGES)
        assert result.answer == max(alone.values())[1]


@pytest.mark.parametrize("margins", [(0.5, 0.5, None), (30.0, 0.0, None), (0.0, 30.0, None), (0.0, 0.0, None)])
def test_what_a_reranking_says_of_the_passages_is_added_to_the_odds_of_their_answers(loaded, margins):
    subject = tiny_reader(loaded, reading="separate", threshold=0.0)
    standings = (0.0, -margins[0], -margins[0] - margins[1])
    for question in QUESTIONS:
        sums = []
        for standing, passage_ in zip(standings, PASSAGES, strict=True):
            ((row,),) = subject.read_rows([ReadRequest(question, (passage_,))])
            sums.append((row.odds + standing, row.best))
        (reading,) = subject.read_batch([ReadRequest(question, PASSAGES, None, margins)])
        assert reading.answer == max(sums)[1]


@pytest.mark.slow
def test_with_the_real_reader_the_search_is_never_less_likely_than_greedy_decoding():
    from rag_ft.environment import handbook_path
    from rag_ft.models.compute import ComputePlan
    from rag_ft.models.loading import load_model

    real = load_model(plan=ComputePlan("cpu", "float32", "none", 2, ()))
    text = (handbook_path() / "rank-and-alpha.md").read_text().split("## Conventions in use")[1].split("```")[0]
    paragraphs = [part for part in text.split("\n\n") if part.strip()]
    passages = [passage(part.strip(), str(i), "Rank and alpha") for i, part in enumerate(paragraphs)]
    search, greedy = (Reader(real, reading="joint", threshold=0.0, decoding=way) for way in ("search", "greedy"))
    for question in ("Which rank and alpha did the QLoRA paper use?", "What is the default in PEFT?", "Why?"):
        request = ReadRequest(question, tuple(passages))
        result, reference = (
            search.read(request.question, request.passages, request.threshold),
            greedy.read(request.question, request.passages, request.threshold),
        )
        exact = [exact_logprob(search, request, candidate.answer) for candidate in (result, reference)]
        assert exact[0] >= exact[1] - 1e-3
        (cited,) = result.cited
        assert cited.passage.text[cited.span.start : cited.span.end] == result.answer


def exact_part_logprob(reader, request, part):
    """log p of a part's completion up to the token that tells its ending from others, from one plain pass."""
    prompts = reader.prompts
    prompt = prompts.build(request.question, request.passages, reader.budget)
    shared, closing = prompts.part_ending(part.yes)
    names = prompts.body_ids(part.leads)
    named = names[0] if len(names) == 1 else (*names[0], *prompts.through, *names[1])
    body = (*prompts.part_open, *named, *shared, closing)
    lead = [*prompt.ids, *prompts.completion_head]
    with torch.inference_mode():
        logits = reader.loaded.model(torch.tensor([[*lead, *body]])).logits[0].log_softmax(-1)
    return sum(float(logits[len(lead) - 1 + i, token]) for i, token in enumerate(body))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_part_found_is_the_likeliest_of_all_parts_with_every_polarity(loaded, monkeypatch, question):
    monkeypatch.setattr("rag_ft.answering.decoding.quote._wants_part", lambda rows: True)
    subject = tiny_reader(loaded, reading="joint")
    subject.batches._answerer._parts = True
    request = ReadRequest(question, PASSAGES)
    ((row,),) = subject.read_rows([request])
    parts = find_parts(PASSAGES, subject.prompts).parts
    exact = [exact_part_logprob(subject, request, part) for part in parts]
    assert row.kind == "part" and len(parts) >= 3 * len(PASSAGES)
    assert row.scored[row.best] == pytest.approx(max(exact), abs=2e-2)
    cited = row.cited[0]
    assert row.best == cited.passage.text[cited.span.start : cited.span.end]
    best = parts[max(range(len(parts)), key=exact.__getitem__)]
    if sum(value > max(exact) - 4e-2 for value in exact) == 1:
        assert (row.yes, row.leads) == (best.yes, best.leads)


def test_only_a_reader_that_was_tuned_on_parts_gives_one(loaded, monkeypatch):
    monkeypatch.setattr("rag_ft.answering.decoding.quote._wants_part", lambda rows: True)
    reading = tiny_reader(loaded).read(QUESTIONS[0], PASSAGES)
    assert reading.kind == "span" and reading.yes is None


def test_a_batch_with_both_kinds_reads_as_one_by_one(loaded, monkeypatch):
    wants = {question: i % 2 == 0 for i, question in enumerate(QUESTIONS)}
    monkeypatch.setattr("rag_ft.answering.decoding.quote._wants_part", lambda rows: wants[rows[0].question])
    subject = tiny_reader(loaded)
    subject.batches._answerer._parts = True
    together = subject.read_batch([ReadRequest(question, PASSAGES) for question in QUESTIONS])
    for question, reading in zip(QUESTIONS, together, strict=True):
        alone = subject.read(question, PASSAGES)
        assert (reading.answer, reading.kind, reading.yes) == (alone.answer, alone.kind, alone.yes)
        assert (reading.kind == "part") is wants[question]
        if reading.kind == "part":
            named = completion.parse_part(reading.completion)
            assert reading.answer.startswith(named.answer[0]) and named.yes is reading.yes
