import numpy as np
import pytest
from little_evaluation import little_arms
from tiny_cross_encoder import passage_scores

from rag_ft.answering.encoder_alone import EncoderAlone
from rag_ft.evaluation.arms.base import Case
from rag_ft.evaluation.arms.build import build_arms
from rag_ft.evaluation.arms.encoder import EncoderArm
from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.recipe import Recipe
from rag_ft.evaluation.studies.development import choose_thresholds
from rag_ft.schema import Hit, Passage, Question
from rag_ft.text.spans import Span

TEXTS = ("The crane lifts 42 tonnes.", "Tea is at four.")
HITS = tuple(
    Hit(passage=Passage(id=text, document_id="d", text=text, start=0, end=len(text)), score=1, rank=rank)
    for rank, text in enumerate(TEXTS, start=1)
)


class CrossEncoderThatMarksNumbers:
    """Stands for a cross-encoder: marks "42 tonnes" with even odds times `surer`, and "four" with less."""

    fingerprint = "f"

    def __init__(self, surer=1.0):
        self.record = {"confidence": {"value": 0.0}, "span_weight": 1.0}
        self.surer = surer

    def score(self, question, passages):
        return [self._scores(question, read.text) for read in passages]

    def _scores(self, question, text):
        words, odds = ("42 tonnes", self.surer) if "42" in text else ("four", self.surer - 4)
        odds -= 3.0 * ("whale" in question)
        starts, ends = np.full(len(text), -9.0), np.full(len(text), -9.0)
        starts[text.index(words)] = ends[text.index(words) + len(words) - 1] = odds / 2
        tokens = tuple(Span(i, i + 1) for i in range(len(text)))
        return passage_scores(0.0, [0.0] * len(text), tokens, starts=starts, ends=ends)


def cases(*texts, answers=("42 tonnes",)):
    answerable = bool(answers)
    return [Case(Question(id=text, question=text, answers=answers, answerable=answerable), HITS) for text in texts]


def arm(k=2, threshold=None, surer=1.0):
    return EncoderArm("alone", EncoderAlone(CrossEncoderThatMarksNumbers(surer), threshold, whole_sentences=False), k)


def test_its_answers_are_cited_and_their_tokens_counted():
    (reply,) = arm().reply(cases("How many tonnes?"))
    assert (reply.answer, reply.kind) == ("42 tonnes", "span")
    (cited,) = reply.citations
    assert (cited.start, cited.end, cited.verdict) == (16, 25, "supported")
    assert reply.prompt_tokens == sum(map(len, TEXTS)) and len(reply.passages) == 2
    assert reply.confidence == pytest.approx(0.731, abs=1e-3) and reply.seconds > 0


def test_it_reads_its_own_number_of_passages():
    (reply,) = arm(k=1).reply([case._replace(hits=HITS[::-1]) for case in cases("How many tonnes?")])
    assert reply.passages[0].end == len(TEXTS[1]) and reply.answer is None


def test_the_confidence_of_a_null_is_that_of_the_answer_that_was_not_given():
    (reply,) = arm(surer=-1.0).reply(cases("How many tonnes?"))
    assert reply.answer is None and reply.declined
    assert reply.confidence == pytest.approx(0.269, abs=1e-3)


def test_its_threshold_is_chosen_on_development_questions(tmp_path):
    asked = [*cases("How many tonnes?", "How much?"), *cases("How many tonnes does a whale lift?", answers=())]
    (chosen,), choices = choose_thresholds([arm(threshold=0.0)], ["alone"], asked, tmp_path)
    assert 0.12 < choices["alone"].threshold < 0.73
    assert chosen.settings["threshold"] == choices["alone"].threshold
    assert chosen.settings["threshold chosen on"].startswith("3 development questions")
    assert [reply.answer for reply in chosen.reply(asked)] == ["42 tonnes", "42 tonnes", None]


def test_another_threshold_leaves_the_first_arm_as_it_was():
    first = arm(threshold=0.0)
    assert first.with_threshold(0.9, "9 questions").reader.threshold == 0.9
    assert first.reader.threshold == 0.0 and "threshold chosen on" not in first.settings


def test_a_run_with_it_ends_with_a_report(prepared, tmp_path):
    index, recipe = prepared

    def arms(recipe, index):
        return [*little_arms(recipe, index), EncoderArm("alone", EncoderAlone(CrossEncoderThatMarksCities()), 3)]

    report = evaluate_recipe(recipe, tmp_path / "out", arms=arms, index=index)
    assert report.results.settings["alone"]["kind"] == "cross-encoder"
    assert "alone" in (tmp_path / "out" / "report.md").read_text()


class CrossEncoderThatMarksCities(CrossEncoderThatMarksNumbers):
    """Stands for a cross-encoder: marks the first word of any passage."""

    def _scores(self, question, text):
        starts, ends = np.full(len(text), -9.0), np.full(len(text), -9.0)
        starts[0] = ends[len(text.split()[0]) - 1] = 1.0
        tokens = tuple(Span(i, i + 1) for i in range(len(text)))
        return passage_scores(1.0, [1.0] * len(text), tokens, starts=starts, ends=ends)


def test_whole_sentences_are_a_setting_of_its_own():
    whole = EncoderArm("whole", EncoderAlone(CrossEncoderThatMarksNumbers()), 2)
    words = EncoderArm("words", EncoderAlone(CrossEncoderThatMarksNumbers(), whole_sentences=False), 2)
    assert whole.settings == words.settings | {"whole sentences": True}
    asked = cases("Why does the crane lift that much?")
    assert [arm.reply(asked)[0].kind for arm in (whole, words)] == ["part", "span"]


@pytest.mark.slow
def test_a_recipe_names_it(tmp_path):
    arms = [{"name": "alone", "kind": "cross-encoder", "k": 5}, {"name": "any", "kind": "passage"}]
    fields = {"title": "t", "questions": "q", "documents": "d", "primary": {"first": "alone", "second": "any"}}
    recipe = Recipe.model_validate({**fields, "arm": arms})
    assert recipe.deepest_k == 5
    alone, _ = build_arms(recipe, None)
    assert isinstance(alone, EncoderArm) and alone.settings["threshold"] is None
    assert alone.settings["cross-encoder"] == alone.reader.cross_encoder.fingerprint
    assert alone.reply(cases("How many tonnes does the crane lift?"))[0].answer == "42 tonnes"
