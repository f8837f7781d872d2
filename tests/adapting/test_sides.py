import pytest
from data import bigger_world
from fakes import HashingEmbedder

from rag_ft.adapting.sides import independent_documents, same_documents, take_sides, why_too_few
from rag_ft.indexing.index import Index
from rag_ft.questions.split import documents_of


def indexed(documents, folder):
    return Index.build(documents, folder / "index", embedder=HashingEmbedder(), progress=False)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    documents, _ = bigger_world(12)
    copy = documents[0].model_copy(update={"id": "Copy.txt"})
    longer = documents[1].model_copy(update={"id": "Longer.txt", "text": documents[1].text + "\n\nIt is closed."})
    return indexed([*documents, copy, longer], tmp_path_factory.mktemp("sides"))


def test_no_document_is_on_two_sides_and_no_record_is_lost(index):
    _, questions = bigger_world(12)
    sides = take_sides(questions, index, 0)
    documents = [documents_of(side) for side in sides]
    assert not documents[0] & documents[1] and not documents[0] & documents[2] and not documents[1] & documents[2]
    assert sorted(record.id for side in sides for record in side) == sorted(record.id for record in questions)
    assert len(sides.judge) == pytest.approx(0.3 * len(questions), abs=8)
    assert take_sides(questions, index, 0) == sides != take_sides(questions, index, 1)


def test_copies_are_on_one_side(index):
    _, questions = bigger_world(12)

    def of_copy(record):
        pieces = tuple(piece.model_copy(update={"document_id": "Copy.txt"}) for piece in record.evidence)
        return record.model_copy(update={"id": f"copy-{record.id}", "evidence": pieces})

    records = [*questions, *(of_copy(record) for record in questions[:8])]
    for seed in range(8):
        sides = take_sides(records, index, seed)
        assert sum({"Copy.txt", "Tower00.txt"} <= documents_of(side) for side in sides) == 1
    assert independent_documents(records, index) == independent_documents(questions, index) == 12


def test_documents_that_share_half_of_their_passages_say_the_same(index, tmp_path):
    assert same_documents(index)["Copy.txt"] == same_documents(index)["Tower00.txt"] == "Copy.txt"
    documents, _ = bigger_world(2)
    boilerplate = "\n\n".join(f"Paragraph {i} of the licence says that it holds, and for whom." for i in range(3))
    different = [one.model_copy(update={"text": one.text + boilerplate}) for one in documents]
    assert not same_documents(indexed(different, tmp_path))


@pytest.mark.parametrize("count", [4, 5, 6])
def test_two_documents_are_left_to_judge_on_however_few_there_are(index, count):
    _, questions = bigger_world(count)
    sides = take_sides(questions, index, 0)
    assert len(sides.judged_documents) >= 2 and sides.train and sides.choose


def test_what_is_lacking_is_told(index):
    _, questions = bigger_world(12)
    assert not why_too_few(questions, take_sides(questions, index, 0), 12)
    few = questions[::4]
    assert "About 67 records are needed" in why_too_few(few, take_sides(few, index, 0), 12)
    assert "about 3 documents, counting copies once. 4 are the least" in why_too_few(questions[:24], None, 3)
