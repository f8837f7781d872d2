import pytest
from scripted_questions import answered, place
from tiny_reader import passage

from rag_ft.question_generation.round_trip import pipeline_fingerprint, round_trip_problem
from rag_ft.schema import Evidence, Hit

TEXT = "The tower of Oslo is 107 metres high. It must be closed at night. Guests pay 20 crowns."
OSLO = passage(TEXT, "oslo.txt")
COPY = passage("Read this first. " + TEXT, "copy.txt")
LIMA = passage("The tower of Lima is 107 metres high. Guests pay 20 soles.", "lima.txt")
HITS = tuple(Hit(passage=found, score=1.0, rank=rank) for rank, found in enumerate((OSLO, LIMA), start=1))


def evidence(words, of=OSLO):
    start, end = place(of.text, words)
    return Evidence(document_id=of.document_id, start=of.start + start, end=of.start + end, quote=words)


def problem(words, answer, *, kind="span", answer_kind=None, yes=None, said=None, hits=HITS, cited=OSLO):
    given = answered("?", answer, hits, kind=answer_kind or kind, yes=said, passage=cited)
    return round_trip_problem(evidence(words), kind, yes, OSLO, given)


def test_the_same_words_of_the_same_place_come_back():
    assert problem("107 metres", "107 metres") is None
    assert problem("107 metres", "107 metres high") is None


def test_reasons_are_told_in_the_order_of_the_pipeline():
    assert problem("107 metres", None, hits=HITS[1:]) == "not retrieved"
    assert problem("107 metres", None) == "declined"
    assert problem("107 metres", "Guests pay 20 soles", cited=LIMA) == "other passage"
    assert problem("107 metres", "107", answer_kind="span") is None  # .67
    assert problem("107 metres", "tower of Oslo is 107 metres high") == "other words"


def test_an_equal_number_of_another_sentence_is_another_passage():
    assert problem("107 metres", "107 metres", cited=LIMA) == "other passage"
    assert problem("107 metres", "20 crowns") == "other passage"


def test_the_same_sentence_in_a_copy_counts():
    hits = (Hit(passage=COPY, score=1.0, rank=1),)
    assert problem("107 metres", "107 metres", hits=hits, cited=COPY) is None
    also = (Hit(passage=LIMA, score=1.0, rank=1, also_in=(OSLO.id,)),)
    assert problem("107 metres", None, hits=also) == "declined"


def test_a_passage_of_the_same_document_that_holds_the_evidence_counts_as_retrieved():
    inside = passage(TEXT, "oslo.txt").model_copy(update={"id": "oslo.txt#0-37", "text": TEXT[:37], "end": 37})
    hits = (Hit(passage=inside, score=1.0, rank=1),)
    assert problem("107 metres", "107 metres", hits=hits, cited=inside) is None
    assert problem("20 crowns", None, hits=hits) == "not retrieved"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("It must be closed at night.", None),
        ("closed at night", None),  # some words of the part
        ("It must be closed at night. Guests pay 20 crowns.", None),  # the part within more
        ("Guests pay 20 crowns.", "other passage"),
    ],
)
def test_a_part_comes_back_where_half_of_either_is_shared(answer, reason):
    assert problem("It must be closed at night.", answer, kind="part") == reason


def test_a_part_that_only_touches_the_other_has_other_words():
    first_two = "The tower of Oslo is 107 metres high. It must be closed at night."
    assert problem(first_two, "at night. Guests pay 20 crowns", kind="part") == "other words"


def test_yes_must_not_be_contradicted():
    words = "It must be closed at night."
    assert problem(words, words, kind="part", yes=True, said=False) == "other decision"
    assert problem(words, words, kind="part", yes=True, said=True) is None
    assert problem(words, words, kind="part", yes=True, said=None) is None


def test_another_threshold_gives_another_fingerprint(world, tiny_llama_dir):
    from tiny_reader import PLAN, tiny_reader

    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.models.loading import load_model

    index, _ = world
    loaded = load_model(str(tiny_llama_dir), plan=PLAN)
    fingerprints = {
        pipeline_fingerprint(Pipeline(index.as_retriever(k), tiny_reader(loaded, threshold=threshold)))
        for k in (2, 3)
        for threshold in (0.0, 0.0, 0.5)
    }
    assert len(fingerprints) == 4
