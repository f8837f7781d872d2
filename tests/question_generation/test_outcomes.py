import pytest

from rag_ft.errors import DatasetError
from rag_ft.question_generation.outcomes import REQUESTS, Outcome, WorkFolder
from rag_ft.unfinished import RUN_FILE

SETTINGS = {"source": "s", "seed": 1}


def batch(number, size=2):
    return [
        Outcome(batch=number, batch_size=size, passage_id=f"p{i}", document_id="d", asked_for="fact", seed=i)
        for i in range(size)
    ]


@pytest.fixture
def work(tmp_path):
    folder = WorkFolder(tmp_path / "q.jsonl")
    folder.path.mkdir()
    return folder


def test_whole_batches_come_back(work):
    assert work.claim(SETTINGS) == [] and work.exists
    work.append(batch(0))
    work.append(batch(1, 3))
    assert work.claim(SETTINGS) == [batch(0), batch(1, 3)]


def test_a_kill_at_any_byte_loses_only_the_batch_that_was_being_written(work):
    work.claim(SETTINGS)
    work.append(batch(0))
    file = work.path / REQUESTS
    whole = file.read_bytes()
    work.append(batch(1))
    both = file.read_bytes()
    for length in range(len(whole), len(both)):
        file.write_bytes(both[:length])
        assert work.claim(SETTINGS) == [batch(0)]
        assert file.read_bytes() == whole
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert work.claim(SETTINGS) == []


def test_another_run_is_forgotten_with_its_damaged_requests(work):
    for damage in ("", "{\n"):
        work.claim(SETTINGS)
        work.append(batch(0))
        with (work.path / REQUESTS).open("a") as file:
            file.write(damage)
        assert work.claim({**SETTINGS, "seed": 2}, overwrite=True) == []
        assert work.claim({**SETTINGS, "seed": 2}) == []
        assert work.claim(SETTINGS, overwrite=True) == []


@pytest.mark.parametrize("name", [RUN_FILE, REQUESTS])
def test_a_damaged_file_is_named(work, name):
    work.claim(SETTINGS)
    work.append(batch(0))
    (work.path / name).write_text("{\n")
    with pytest.raises(DatasetError, match="is damaged: remove"):
        work.claim(SETTINGS)


def test_a_batch_that_lacks_requests_before_others_is_damage(work):
    work.claim(SETTINGS)
    work.append(batch(0)[:1])
    work.append(batch(1))
    with pytest.raises(DatasetError, match="lacks requests of batch 0"):
        work.claim(SETTINGS)
