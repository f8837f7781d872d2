import random

import pytest
from fakes import HashingEmbedder
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.errors import DatasetError
from rag_ft.indexing.index import Index
from rag_ft.models.cross_encoder import shown_text
from rag_ft.schema import Document, Evidence, Passage, Question
from rag_ft.training.cross_encoder.config import CrossEncoderConfig
from rag_ft.training.cross_encoder.examples import draw_example, evidence_in, overlap, pair_sources, words_in

CONFIG = CrossEncoderConfig(passages=3, without_evidence=0)
TEXT = "Tea is at four. The crane lifts 42 tonnes. It is inspected in May. Rope is in the shed."


def question(start, end, kind="span", **fields):
    evidence = (Evidence(document_id="d", start=start, end=end, quote="?"),)
    return Question(id="q", question="How?", answers=("?",), evidence=evidence, kind=kind, **fields)


def passage(start=0, end=87, document="d"):
    return Passage(id=f"{document}#{start}", document_id=document, text=TEXT[start:end], start=start, end=end)


def test_the_first_passage_holds_the_evidence_and_the_others_do_not(world):
    index, questions = world
    sources = pair_sources(questions, index, CONFIG)
    assert len(sources.sources) == len(questions) and not sources.dropped
    assert sources.documents == {f"{city.id.split('-')[0]}.txt" for city in questions}
    for source in sources.sources:
        example = draw_example(source, CONFIG, random.Random(0))
        assert len(example.passages) == 3 and len({passage.id for passage in example.passages}) == 3
        if source.question.answerable:
            first, *others = example.passages
            shown = shown_text(first)[example.evidence.start : example.evidence.end]
            assert source.question.answers[0] in shown and shown.endswith(".") and "\n" not in shown
            assert shown_text(first)[example.words.start : example.words.end] == source.question.evidence[0].quote
            assert not any(overlap(other, source.question) > 0 for other in others)
        else:
            assert example.evidence is None and example.words is None


def test_an_unanswerable_question_is_shown_beside_the_passage_that_it_was_written_about(world):
    index, questions = world
    sources = pair_sources(questions, index, CONFIG).sources
    unanswerable = [source for source in sources if not source.question.answerable]
    assert unanswerable and all(source.near is not None for source in unanswerable)
    for source in unanswerable:
        assert overlap(source.near, source.question) > 0
        for seed in range(5):
            passages = draw_example(source, CONFIG, random.Random(seed)).passages
            assert passages[0] is source.near and len({passage.id for passage in passages}) == 3
        (alone,) = draw_example(source._replace(shown=1), CONFIG, random.Random(0)).passages
        assert alone is source.near


def test_now_and_then_the_evidence_is_left_out(world):
    index, questions = world
    config = CONFIG.model_copy(update={"without_evidence": 0.5})
    source = next(source for source in pair_sources(questions, index, config).sources if source.question.answerable)
    drawn = [draw_example(source, config, random.Random(seed)) for seed in range(40)]
    without = [example for example in drawn if example.evidence is None]
    assert 10 < len(without) < 30
    assert not any(overlap(shown, source.question) > 0 for example in without for shown in example.passages)


def test_a_copy_of_the_passage_that_answers_is_not_shown_as_one_that_does_not(world, tmp_path):
    index, questions = world
    documents = [Document(id=name, text=index.document(name).text) for name in index.documents()]
    copies = [document.model_copy(update={"id": f"0-{document.id}"}) for document in documents]
    doubled = Index.build([*documents, *copies], tmp_path / "doubled", embedder=HashingEmbedder())
    for source in pair_sources(questions, doubled, CONFIG).sources:
        if source.gold is not None:
            assert source.gold.text not in [passage.text for passage in source.others]


def test_passages_of_the_other_side_are_not_used(world):
    index, questions = world
    apart = {"Oslo.txt", "Lima.txt"}
    own = [question for question in questions if question.evidence[0].document_id not in apart]
    for source in pair_sources(own, index, CONFIG, apart=apart).sources:
        assert not apart & {passage.document_id for passage in source.others}


def test_a_record_that_cannot_be_used_is_named_with_the_reason(world):
    index, questions = world
    elsewhere = Evidence(document_id="none.txt", start=0, end=1, quote="x")
    moved = questions[1].evidence[0].model_copy(update={"quote": "never said"})
    odd = [
        questions[0].model_copy(update={"id": "bare", "evidence": ()}),
        questions[0].model_copy(update={"id": "elsewhere", "evidence": (elsewhere,)}),
        questions[1].model_copy(update={"id": "moved", "evidence": (moved,)}),
        questions[1].model_copy(update={"id": "later piece moved", "evidence": (*questions[1].evidence, moved)}),
    ]
    sources = pair_sources([*questions, *odd], index, CONFIG)
    assert sources.dropped == {
        "bare": "answerable, but without evidence",
        "elsewhere": "the index lacks the document of its evidence",
        "moved": "its evidence does not stand at its offsets",
        "later piece moved": "its evidence does not stand at its offsets",
    }
    with pytest.raises(DatasetError, match=r"\(record bare: answerable, but without evidence\): run 'rag-ft data ch"):
        pair_sources(odd, index, CONFIG)
    with pytest.raises(DatasetError, match="no record is answerable"):
        pair_sources([question for question in questions if not question.answerable], index, CONFIG)


def test_of_a_few_words_the_sentences_that_hold_them_are_evidence_and_of_a_part_itself():
    where = TEXT.index("42"), TEXT.index("42") + 2
    span = evidence_in(passage(), question(*where))
    assert TEXT[span.start : span.end] == "The crane lifts 42 tonnes."
    assert evidence_in(passage(), question(*where, kind="part")) == where
    assert evidence_in(passage(document="other"), question(*where)) is None
    assert evidence_in(passage(0, 16), question(*where)) is None


def test_words_are_those_of_a_short_answer_where_the_passage_holds_them_whole():
    where = TEXT.index("42 tonnes"), TEXT.index("42 tonnes") + 9
    assert words_in(passage(), question(*where)) == where
    assert words_in(passage(where[0]), question(*where)) == (0, 9)
    assert words_in(passage(where[0] + 1), question(*where)) is None
    assert words_in(passage(), question(*where, kind="part")) is None
    assert words_in(passage(document="other"), question(*where)) is None


@given(start=st.integers(0, len(TEXT) - 1), data=st.data())
def test_evidence_lies_within_the_passage_and_holds_what_of_it_is_there(start, data):
    end = data.draw(st.integers(start + 1, len(TEXT)))
    first = data.draw(st.integers(0, len(TEXT) - 1))
    shown = passage(first, data.draw(st.integers(first + 1, len(TEXT))))
    asked = question(start, end, kind=data.draw(st.sampled_from(["span", "part"])))
    held = evidence_in(shown, asked)
    shared = range(max(start, shown.start), min(end, shown.end))
    assert (held is None) == (len(shared) == 0) == (overlap(shown, asked) <= 0)
    if held is not None:
        assert 0 <= held.start < held.end <= len(shown.text)
        if TEXT[shared.start : shared.stop].strip() == TEXT[shared.start : shared.stop]:
            assert held.start + shown.start <= shared.start and shared.stop <= held.end + shown.start
