import json

import pytest
from adaptations import ScriptedMaker
from data import bigger_world
from fakes import HashingEmbedder

from rag_ft.adapting.records import collect_records, record_lines
from rag_ft.adapting.stages import opened
from rag_ft.errors import DatasetError, UsageError
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions, write_questions


@pytest.fixture
def index(tmp_path):
    return Index.build(bigger_world()[0], tmp_path / "index", embedder=HashingEmbedder(), progress=False)


def collected(folder, index, questions=None, make=0, maker=None, seed=0):
    with opened(folder / "out") as opened_folder:
        return collect_records(opened_folder, index, questions, make, seed, maker=maker)


def test_made_records_come_after_those_of_people_and_an_id_counts_once(tmp_path, index):
    _, questions = bigger_world()
    write_questions(questions[5:10], tmp_path / "own.jsonl")
    result = collected(tmp_path, index, tmp_path / "own.jsonl", 10, ScriptedMaker(questions))
    records = read_questions(tmp_path / "out" / "questions.jsonl")
    assert [record.id for record in records[:5]] == [record.id for record in questions[5:10]]
    assert len(records) == 10 and result["origins"] == {"human": 5, "made": 5}


def test_what_was_thrown_away_is_counted_by_reason(tmp_path, index):
    _, questions = bigger_world()
    rejected = [{"reason": "declined", "passage_id": "a"}] * 2 + [{"reason": "not retrieved", "passage_id": "b"}]
    result = collected(tmp_path, index, make=70, maker=ScriptedMaker(questions, rejected))
    assert result["made"]["rejected"] == {"declined": 2, "not retrieved": 1} and result["not retrieved"] == {"b": 1}
    assert "70 of 70 wanted ones were made; thrown away: 2 declined, 1 not retrieved" in record_lines(result)


def test_other_settings_make_other_records_and_the_same_ones_none(tmp_path, index):
    _, questions = bigger_world()
    maker = ScriptedMaker(questions)
    for make, seed, calls in ((60, 0, 1), (60, 0, 1), (60, 1, 2), (50, 1, 3)):
        collected(tmp_path, index, make=make, maker=maker, seed=seed)
        assert maker.calls == calls


def test_made_records_that_somebody_changed_are_not_removed(tmp_path, index):
    _, questions = bigger_world()
    collected(tmp_path, index, make=60, maker=ScriptedMaker(questions))
    (tmp_path / "out" / "made.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"made\.jsonl was changed by somebody"):
        collected(tmp_path, index, make=50, maker=ScriptedMaker(questions))
    assert (tmp_path / "out" / "made.jsonl").read_text() == "mine"


def test_the_file_of_records_itself_may_be_corrected_and_given(tmp_path, index):
    _, questions = bigger_world()
    write_questions(questions, tmp_path / "own.jsonl")
    collected(tmp_path, index, tmp_path / "own.jsonl")
    file = tmp_path / "out" / "questions.jsonl"
    write_questions(questions[:20], file)
    assert collected(tmp_path, index, file)["questions"] == 20


def test_documents_that_give_no_question_are_told_each_time(tmp_path, index):
    maker = ScriptedMaker([], [{"reason": "declined", "passage_id": "a"}])
    for calls in (1, 2):
        with pytest.raises(DatasetError, match="no question was kept"):
            collected(tmp_path, index, make=60, maker=maker)
        assert maker.calls == calls and not (tmp_path / "out" / "made.jsonl").exists()


def test_making_that_was_stopped_resumes_or_begins_again_with_other_settings(tmp_path, index):
    _, questions = bigger_world()
    maker = ScriptedMaker(questions)
    for make, left in ((60, [60, 0]), (50, [50, 0])):
        maker.stops = 1
        with pytest.raises(KeyboardInterrupt):
            collected(tmp_path, index, make=make, maker=maker)
        work = tmp_path / "out" / "made.jsonl.partial"
        assert json.loads((work / "run.json").read_text()) == left and not (tmp_path / "out" / "made.jsonl").exists()
    assert collected(tmp_path, index, make=50, maker=maker)["made"]["kept"] == 50 and not work.exists()


def test_what_was_made_just_before_a_kill_is_not_made_again(tmp_path, index, monkeypatch):
    _, questions = bigger_world()
    maker = ScriptedMaker(questions)
    with monkeypatch.context() as patched:
        patched.setattr("rag_ft.adapting.records._made_digest", lambda *_: 1 / 0)  # after making, before it is known
        with pytest.raises(ZeroDivisionError):
            collected(tmp_path, index, make=60, maker=maker)
    assert collected(tmp_path, index, make=60, maker=maker)["made"]["kept"] == 60 and maker.calls == 1
