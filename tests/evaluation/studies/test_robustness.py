import pytest
from data import little_world
from fakes import HashingEmbedder

from rag_ft.evaluation.arms.base import Case
from rag_ft.evaluation.arms.readers import ReaderArm
from rag_ft.evaluation.runner import retrieve_cases
from rag_ft.evaluation.studies.robustness import CONDITIONS, COUNTS, easy_distractors, robustness, variant
from rag_ft.indexing.index import Index
from rag_ft.schema import Hit, Passage, Question


def _hits(*names):
    return tuple(
        Hit(passage=Passage(id=name, document_id="d", text=name, start=0, end=1), score=1.0, rank=rank)
        for rank, name in enumerate(names, start=1)
    )


@pytest.mark.parametrize(
    ("condition", "k", "expected"),
    [
        ("as retrieved", 3, ["a", "gold", "b"]),
        ("gold first", 3, ["gold", "a", "b"]),
        ("gold first, easy others", 3, ["gold", "e", "f"]),
        ("gold last", 3, ["a", "b", "gold"]),
        ("gold absent", 3, ["a", "b", "c"]),
        ("as retrieved", 1, ["a"]),
        ("gold last", 1, ["gold"]),
        ("gold absent", 1, ["a"]),
    ],
)
def test_a_condition_decides_where_the_gold_passage_stands(condition, k, expected):
    case = Case(Question(id="q", question="?", answers=("x",)), _hits("a", "gold", "b", "c"))
    changed = variant(case, [case.hits[1].passage], k, condition, [hit.passage for hit in _hits("e", "f", "g")])
    assert [hit.passage.id for hit in changed.hits] == expected
    assert [hit.rank for hit in changed.hits] == list(range(1, k + 1))


def test_easy_distractors_are_of_other_documents_and_were_not_retrieved(tmp_path):
    documents, questions = little_world(4)
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    asked = retrieve_cases(questions, index.as_retriever(k=2))
    for case in asked:
        easy = easy_distractors(case, asked, 0)
        assert easy == easy_distractors(case, asked, 0) and len({passage.id for passage in easy}) == len(easy) > 0
        assert not {passage.id for passage in easy} & {hit.passage.id for hit in case.hits}
        assert not {passage.document_id for passage in easy} & {piece.document_id for piece in case.question.evidence}
    assert len({tuple(passage.id for passage in easy_distractors(asked[0], asked, seed)) for seed in range(9)}) > 1


def test_the_heat_map_has_a_cell_for_every_condition_and_resumes(tmp_path, tiny_llama_dir):
    from rag_ft.answering.reader import Reader

    documents, questions = little_world(4)
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    arm = ReaderArm("tiny", Reader.from_pretrained(str(tiny_llama_dir), threshold=0.0), 3)
    asked = retrieve_cases(questions, index.as_retriever(k=4))
    cells = robustness(arm, asked, index, tmp_path / "out")
    assert [(cell.k, cell.condition) for cell in cells] == [(k, name) for k in COUNTS for name in CONDITIONS]
    assert all(cell.score.questions == 8 for cell in cells)
    # A reader that always answers never declines.
    assert all(cell.score.mean == 0.0 for cell in cells if cell.condition == "gold absent")
    assert cells == robustness(arm, asked, index, tmp_path / "out")
    assert robustness(arm, [case for case in asked if not case.question.answerable], index, tmp_path / "none") == []
