import pytest

from rag_ft.errors import DatasetError, UsageError
from rag_ft.question_generation.outcomes import REQUESTS, RUN_FILE, Outcome, WorkFolder

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


def test_other_settings_are_named(work):
    work.claim(SETTINGS)
    with pytest.raises(DatasetError, match=r"other settings \(seed was 1 and is now 2\)"):
        work.claim({**SETTINGS, "seed": 2})


def test_starting_over_removes_a_run_of_any_settings_and_damaged_requests(work):
    for damage in ("", "{\n"):
        work.claim(SETTINGS)
        work.append(batch(0))
        with (work.path / REQUESTS).open("a") as file:
            file.write(damage)
        assert work.claim({**SETTINGS, "seed": 2}, start_over=True) == []
        assert work.claim({**SETTINGS, "seed": 2}) == []
        assert work.claim(SETTINGS, start_over=True) == []


@pytest.mark.parametrize(
    ("run", "message"), [('{"mine": 1}', "does not say what run"), ("[]", "does not"), (None, "no run")]
)
def test_starting_over_leaves_the_files_of_others(work, run, message):
    if run is not None:
        (work.path / RUN_FILE).write_text(run)
    (work.path / REQUESTS).write_text("mine")
    with pytest.raises(DatasetError, match=message):
        work.claim(SETTINGS, start_over=True)
    assert (work.path / REQUESTS).read_text() == "mine"


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


def test_requests_without_settings_are_nobodys(work):
    (work.path / REQUESTS).write_text("")
    with pytest.raises(DatasetError, match="to say what run it is from"):
        work.claim(SETTINGS)


def test_a_link_in_the_way_is_left_alone(tmp_path, work):
    work.path.rmdir()
    (tmp_path / "other").mkdir()
    work.path.symlink_to(tmp_path / "other")
    with pytest.raises(UsageError, match="in the way"):
        work.check()


def test_removing_leaves_the_files_of_others(work):
    work.claim(SETTINGS)
    work.append(batch(0))
    (work.path / "mine.txt").write_text("x")
    work.clear()
    work.remove()
    assert [path.name for path in work.path.iterdir()] == ["mine.txt"]
