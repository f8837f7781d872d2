import pytest

from rag_ft.questions.records import write_questions
from rag_ft.training.data.check import check_questions


@pytest.fixture
def check(tmp_path, world):
    """A check of the world's questions with changes."""
    index, questions = world

    def checked(change=lambda questions: questions):
        path = tmp_path / "qa.jsonl"
        write_questions(change(list(questions)), path)
        return check_questions(path, index)

    return checked


def test_sound_records_are_counted_and_nothing_is_wrong(check, world):
    sound = check()
    assert not sound.wrong and sound.questions == len(world[1]) == sound.train + sound.held_out
    assert sound.answerable == sum(question.answerable for question in world[1])
    assert (sound.no_evidence, sound.evidence_missing, sound.duplicates, sound.split_error) == ((), (), (), "")
    assert not any(line.startswith("no evidence") for line in sound.lines())


def test_unanswerable_questions_without_evidence_are_named(check):
    def without_evidence(questions):
        return [
            question if question.answerable else question.model_copy(update={"evidence": ()}) for question in questions
        ]

    report = check(without_evidence)
    assert len(report.no_evidence) == report.questions - report.answerable
    line = next(line for line in report.lines() if line.startswith("no evidence"))
    assert (
        line
        == f"no evidence {len(report.no_evidence)} unanswerable questions name no evidence and are held out at random"
    )


def test_a_question_in_almost_the_same_words_is_a_duplicate_and_the_first_is_not(check):
    def repeated(questions):
        first = questions[0]
        return [*questions, first.model_copy(update={"id": "again", "question": first.question.upper()})]

    assert check(repeated).duplicates == ("again",)


def test_evidence_that_the_index_does_not_hold_must_be_corrected(check):
    def moved(questions):
        first = next(question for question in questions if question.answerable)
        piece = first.evidence[0]
        changed = first.model_copy(update={"evidence": (piece.model_copy(update={"quote": "other words"}),)})
        return [changed if question is first else question for question in questions]

    report = check(moved)
    assert report.wrong and "not 'other words'" in report.evidence_missing[0]
    assert any("2 pieces of evidence are not in the index" in line for line in report.lines())


def test_records_of_one_document_cannot_be_split_and_the_report_says_so(check):
    report = check(lambda questions: questions[:1])
    assert report.wrong and "another document" in report.split_error
    assert (report.train, report.held_out) == (1, 0)
    assert any(line.startswith("STOP        ") for line in report.lines())


def test_the_same_follow_up_of_two_questions_is_no_duplicate_and_is_found_by_its_history(check):
    def follow_up(number, questions):
        record = questions[number]
        return record.model_copy(
            update={"id": f"f{number}", "question": "And the other thing?", "history": (record.question,)}
        )

    report = check(lambda questions: [*questions, follow_up(0, questions), follow_up(3, questions)])
    assert report.duplicates == () and not {"f0", "f3"} & {*report.not_found}


def test_records_that_people_did_not_write_are_counted_by_origin(check):
    assert not any(line.startswith("origins") for line in check().lines())
    report = check(lambda questions: [questions[0].model_copy(update={"origin": "feedback"}), *questions[1:]])
    assert report.origins == {"human": report.questions - 1, "feedback": 1}
    assert f"origins     {report.questions - 1} by people, 1 from feedback" in report.lines()
