import pytest
from data import little_world
from fakes import HashingEmbedder
from tiny_adapters import PLAN, fresh, make_adapter

from rag_ft.adapters.compare import compare_adapters
from rag_ft.answering.pipeline import Pipeline
from rag_ft.errors import UsageError, WeightsError
from rag_ft.indexing.index import Index


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    documents, questions = little_world(3)
    return Index.build(documents, tmp_path_factory.mktemp("w") / "index", embedder=HashingEmbedder()), questions


@pytest.fixture(scope="module")
def adapters(tiny_llama_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a")
    return {
        name: make_adapter(folder / name, tiny_llama_dir, seed, bits=bits, threshold=0.0)
        for name, seed, bits in (("one", 1, 32), ("two", 2, 32), ("nf4", 3, 4))
    }


@pytest.mark.parametrize("pair", [("one", "two"), ("one", "nf4"), ("nf4", "none"), ("none", "two"), ("one", "none")])
def test_each_side_is_what_a_reader_of_that_adapter_says(world, adapters, tiny_llama_dir, pair):
    index, questions = world
    folders = [adapters.get(name, "none") for name in pair]
    comparison = compare_adapters(*folders, questions, index, reader=str(tiny_llama_dir), k=2, plan=PLAN)
    by_adapter = zip(*((row.first, row.second) for row in comparison.questions), strict=True)
    for folder, sides in zip(folders, by_adapter, strict=True):
        qa = Pipeline(index.as_retriever(k=2), fresh(tiny_llama_dir, folder))
        answers = qa.ask_batch([question.question for question in questions])
        assert [side.answer for side in sides] == [answer.answer for answer in answers]
    assert comparison.summary.questions == len(questions) and comparison.summary.same < len(questions)


def test_an_adapter_against_itself_shows_no_difference(world, adapters, tiny_llama_dir):
    index, questions = world
    folder = adapters["one"]
    counts = compare_adapters(folder, folder, questions, index, reader=str(tiny_llama_dir), plan=PLAN).summary
    assert counts.same == counts.questions == len(questions)
    assert counts.other_answer == counts.only_first_answers == counts.other_citation == counts.first_better == 0


def test_the_counts_add_up(world, adapters, tiny_llama_dir):
    index, questions = world
    comparison = compare_adapters(
        adapters["one"], "none", questions, index, reader=str(tiny_llama_dir), plan=PLAN, shots=False
    )
    counts = comparison.summary
    apart = counts.only_first_answers + counts.only_second_answers + counts.other_answer + counts.other_citation
    assert counts.same + apart == counts.questions
    # With abstention off the first always answers; the second nearly always abstains, rightly where there is no answer.
    assert counts.only_first_answers > 0 and counts.only_second_answers == 0
    null = [row.second.f1 for row in comparison.questions if not row.accepted and row.second.answer is None]
    assert null and set(null) == {1.0}


def test_what_cannot_be_compared_is_refused(world, adapters, tiny_llama_dir, tmp_path):
    index, questions = world
    with pytest.raises(UsageError, match="at least one"):
        compare_adapters(adapters["one"], "none", [], index, reader=str(tiny_llama_dir))
    with pytest.raises(WeightsError, match="is not an adapter"):
        compare_adapters(adapters["one"], tmp_path, questions, index, reader=str(tiny_llama_dir))
