from typing import ClassVar

import numpy as np
import pytest
from tiny_cross_encoder import passage_scores
from tiny_reader import PASSAGES, QUESTIONS, exact_logprob, passage, tiny_reader

from rag_ft.answering.decoding.candidates import answer_spans
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import WeightsError
from rag_ft.indexing.index import Index
from rag_ft.questions.wording import repeats_question
from rag_ft.text.spans import Span


class CrossEncoderWithRandomSpans:
    """Stands for a cross-encoder: what it says of each character depends on the passage alone."""

    fingerprint = "c"

    def __init__(self, weight=1.0, seed=0):
        self.record = {"confidence": {"value": 0.5}, "span_weight": weight}
        self.seed = seed
        self.asked = []

    def score_batch(self, pairs):
        self.asked += pairs
        return [self.scores(passage.text) for _, passage in pairs]

    def scores(self, text):
        rng = np.random.default_rng([self.seed, len(text)])
        tokens = tuple(Span(i, i + 1) for i in range(len(text)))
        return passage_scores(
            0.0, [0.0] * len(text), tokens, starts=rng.normal(size=len(text)) * 4, ends=rng.normal(size=len(text)) * 4
        )

    def odds(self, read, span):
        return float(self.scores(read.text).span_odds(np.array([span]))[0])


@pytest.mark.parametrize("weight", [0.5, 2.0])
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_the_span_that_both_models_together_like_best(loaded, question, weight):
    encoder = CrossEncoderWithRandomSpans(weight)
    reader = tiny_reader(loaded, reading="separate", cross_encoder=encoder)
    rows = reader.read_rows([ReadRequest(question, PASSAGES)])[0]
    repeats = repeats_question(question)
    best = []
    for row, read in zip(rows, PASSAGES, strict=True):
        alone = ReadRequest(question, (read,))
        spans = [span for span in answer_spans(read) if not repeats(read.text[span.start : span.end])]
        texts = {read.text[span.start : span.end] for span in spans}
        generator = {text: exact_logprob(reader, alone, text) for text in texts}
        odds = {span: encoder.odds(read, span) for span in spans}
        best.append(max(generator[read.text[span.start : span.end]] + weight * odds[span] for span in spans) - row.null)
    won = max(rows, key=lambda row: row.standing_odds)
    assert won.standing_odds == pytest.approx(max(best), abs=2e-2)
    assert best[rows.index(won)] == pytest.approx(max(best), abs=2e-2)
    (cited,) = won.cited
    assert cited.text == won.best and won.added_odds == pytest.approx(weight * encoder.odds(*cited), abs=1e-4)


def test_of_equal_texts_the_place_is_cited_that_the_cross_encoder_prefers(loaded):
    read = passage("Lima. Oslo is cold. Lima.")

    class LikesTheEnd(CrossEncoderWithRandomSpans):
        def scores(self, text):
            tokens = tuple(Span(i, i + 1) for i in range(len(text)))
            likes = [9.0 if i >= text.rindex("Lima") else -9.0 for i in range(len(text))]
            return passage_scores(0.0, likes, tokens, starts=likes, ends=likes)

    ((row,),) = tiny_reader(loaded, reading="separate", cross_encoder=LikesTheEnd()).read_rows(
        [ReadRequest("Which city is warm?", (read,))]
    )
    assert row.best == "Lima" and row.cited[0].span.start == read.text.rindex("Lima")


@pytest.mark.parametrize("reading", ["joint", "separate"])
def test_a_record_without_a_weight_leaves_the_choice_to_the_generator(loaded, reading):
    encoder = CrossEncoderWithRandomSpans(0.0)
    request = ReadRequest("How many foxes?", PASSAGES)
    ours = tiny_reader(loaded, reading=reading, cross_encoder=encoder).read_batch([request])
    assert ours == tiny_reader(loaded, reading=reading).read_batch([request]) and not encoder.asked


def test_passages_of_a_joint_prompt_are_each_asked_about(loaded):
    encoder = CrossEncoderWithRandomSpans()
    ((row,),) = tiny_reader(loaded, reading="joint", cross_encoder=encoder).read_rows(
        [ReadRequest(QUESTIONS[0], PASSAGES)]
    )
    assert [read.text for _, read in encoder.asked] == [read.text for read in PASSAGES]
    (cited,) = row.cited
    assert cited.text == row.best and row.added_odds == pytest.approx(encoder.odds(*cited), abs=1e-4)


def test_a_damaged_weight_is_refused_in_a_sentence(loaded):
    class Damaged(CrossEncoderWithRandomSpans):
        record: ClassVar = {"confidence": {"value": 0.5}, "span_weight": -1}

        def __init__(self):
            pass

    with pytest.raises(WeightsError, match="span_weight"):
        tiny_reader(loaded, cross_encoder=Damaged())


@pytest.mark.slow
def test_the_packaged_cross_encoder_finds_words_that_the_packaged_reader_alone_does_not(handbook_index):
    retriever = Index.load(handbook_index).as_retriever(k=3)
    both = Reader.from_pretrained(threshold=0.0)
    without = both.cross_encoder.with_record({**both.cross_encoder.record, "span_weight": 0.0})
    alone = Reader(both.loaded, threshold=0.0, cross_encoder=without)
    asked = {
        "Which system was the first with continuous batching?": "Orca",
        "How many weights share one scale in NF4?": "64",
        "How much memory does a flat index of one million 384-dimensional vectors need?": "1.54 GB",
    }
    answers = {
        reader: [Pipeline(retriever, reader).ask(question).answer for question in asked] for reader in (both, alone)
    }
    assert answers[both] == list(asked.values())
    assert not set(answers[alone]) & set(asked.values())
