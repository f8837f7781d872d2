"""Answers of the cross-encoder alone, without a generator: what a generator must be better than to be worth its time.

Whole sentences are chosen as in `evidence.py`. An answer in a few words is the candidate span with the highest
log-odds in any passage, the passage's own log-odds added (Devlin et al., "BERT", 2019, section 4.3, over passages).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from rag_ft.answering import completion
from rag_ft.answering.decoding.candidates import answer_spans
from rag_ft.answering.evidence import EvidenceReader
from rag_ft.answering.reading import Cited, Reading, ReadRequest, standings
from rag_ft.errors import UsageError
from rag_ft.metrics.odds import probability_of
from rag_ft.models.cross_encoder import LEAST_ODDS, CrossEncoder, PassageScores
from rag_ft.questions.wording import repeats_question
from rag_ft.schema import Passage
from rag_ft.text.spans import Span

_LIKELIER = 0.5
"""Probability from which words are likelier than none."""


class BestWords(NamedTuple):
    """The few words of a passage that most likely answer a question."""

    span: Span
    log_odds: float
    """Against there being no answer in the passage."""


def best_words(question: str, passage: Passage, scores: PassageScores) -> BestWords | None:
    """Of the spans that may be an answer the likeliest; None where there is none, or the model saw none of them."""
    repeats = repeats_question(question)
    spans = [span for span in answer_spans(passage) if not repeats(passage.text[span.start : span.end])]
    if not spans:
        return None
    log_odds = scores.span_odds(np.array(spans))
    best = int(log_odds.argmax())
    return None if log_odds[best] <= LEAST_ODDS else BestWords(spans[best], float(log_odds[best]))


class EncoderAlone:
    """Reads requests with a cross-encoder and nothing else."""

    def __init__(
        self, cross_encoder: CrossEncoder, threshold: float | None = None, *, whole_sentences: bool = True
    ) -> None:
        """`threshold`: of words; None: they must be likelier than none. Sentences have the one in the record.

        `whole_sentences`: whether how, why, yes or no and the like are answered with sentences. Raises WeightsError
        where the record has no calibration, UsageError where it gives no weight to words.
        """
        self.cross_encoder = cross_encoder
        self.threshold = threshold
        self.whole_sentences = whole_sentences
        self._sentences = EvidenceReader(cross_encoder)
        if not self._sentences.calibration.span_weight:
            raise UsageError(
                "this cross-encoder cannot answer alone, because its record gives no weight to the words that it marks:"
                " use the packaged one, or one that was tuned from it"
            )

    def with_threshold(self, threshold: float) -> EncoderAlone:
        """The same cross-encoder with another threshold."""
        return EncoderAlone(self.cross_encoder, threshold, whole_sentences=self.whole_sentences)

    def read_batch(self, requests: Sequence[ReadRequest]) -> list[Reading]:
        """What each request is answered with; a null keeps the answer that was not given as `declined`."""
        if not self.whole_sentences:
            return [self._words(request) for request in requests]
        return [
            self._words(request) if reading is None else reading
            for request, reading in zip(requests, self._sentences.read_batch(requests), strict=True)
        ]

    def _words(self, request: ReadRequest) -> Reading:
        """The words that answer best. The confidence is the probability that they do, against none in their passage."""
        scores = self.cross_encoder.score(request.question, request.passages)
        standing = standings(request.margins, len(scores)) or [score.relevance for score in scores]
        marked = [best_words(request.question, *read) for read in zip(request.passages, scores, strict=True)]
        weighed = [
            (words.log_odds + stands, position, words)
            for position, (words, stands) in enumerate(zip(marked, standing, strict=True))
            if words is not None
        ]
        nothing = Reading(
            answer=None,
            kind="span",
            yes=None,
            cited=(),
            confidence=1.0,
            answer_confidence=0.0,
            not_null=0.0,
            abstained=True,
            complete=True,
            completion=completion.render(None),
            read=(True,) * len(request.passages),
            prompt_tokens=sum(len(score.tokens) for score in scores),
            completion_tokens=0,
        )
        if not weighed:
            return nothing
        _, position, best = max(weighed, key=itemgetter(0))
        passage, confidence = request.passages[position], probability_of(best.log_odds)
        answer = passage.text[best.span.start : best.span.end]
        given = replace(
            nothing,
            answer=answer,
            cited=(Cited(passage, best.span),),
            confidence=confidence,
            answer_confidence=confidence,
            not_null=confidence,
            abstained=False,
            completion=completion.render(answer, (position + 1,)),
        )
        least = self.threshold if request.threshold is None else request.threshold
        return given if confidence >= (_LIKELIER if least is None else least) else given.decline()
