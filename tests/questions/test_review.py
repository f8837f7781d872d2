import concurrent.futures
import json
import os

import pytest
from data import little_world

from rag_ft.errors import DatasetError, UsageError
from rag_ft.questions.records import check_evidence
from rag_ft.questions.review import (
    Review,
    Verdict,
    agreement,
    marked_record,
    record_fingerprint,
    reworded_record,
    verdict_files,
    verdict_path,
    without_answer,
)
from rag_ft.schema import Document, Question

QUESTIONS = little_world(2)[1]
FIRST, SECOND, THIRD = QUESTIONS[:3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "qa.review.jsonl"


def test_a_verdict_is_on_disk_at_once_and_the_review_resumes_after_it(path):
    Review(path, QUESTIONS).give(FIRST, "accept")
    resumed = Review(path, QUESTIONS)
    assert resumed.verdict(FIRST.id).verdict == "accept"
    assert resumed.pending() == list(QUESTIONS[1:])


def test_skipped_records_come_back_after_all_others(path):
    review = Review(path, QUESTIONS)
    review.give(FIRST, "skip")
    assert FIRST not in review.pending()
    for question in QUESTIONS[1:]:
        review.give(question, "accept")
    assert review.pending() == [FIRST]


def test_undo_takes_the_latest_verdict_back_also_after_a_restart(path):
    review = Review(path, QUESTIONS)
    for verdict in ("skip", "reject"):
        review.give(FIRST, verdict)
    review.give(SECOND, "accept")
    assert Review(path, QUESTIONS).undo() == SECOND
    resumed = Review(path, QUESTIONS)
    assert resumed.verdict(SECOND.id) is None and resumed.undo() == FIRST
    assert resumed.verdict(FIRST.id).verdict == "skip"  # the verdict before
    assert resumed.undo() == FIRST and resumed.undo() is None
    assert Review(path, QUESTIONS).pending() == list(QUESTIONS)


def test_kept_records_are_as_accepted_edited_or_without_answer(path):
    review = Review(path, QUESTIONS)
    edited = FIRST.model_copy(update={"answers": ("100",)})
    review.give(FIRST, "edit", edited)
    review.give(SECOND, "no answer")
    review.give(THIRD, "accept")
    review.give(QUESTIONS[3], "reject")
    review.give(QUESTIONS[4], "skip")
    assert Review(path, QUESTIONS).kept() == [edited, without_answer(SECOND), THIRD]
    line = review.counts().line()
    assert line == (
        "4 of 6 records judged: 3 accepted (75%), 1 of these edited, 1 of these as unanswerable, 1 rejected (25%),"
        " 1 skipped"
    )


def test_a_record_that_changed_after_its_verdict_is_judged_again(path):
    Review(path, QUESTIONS).give(FIRST, "accept")
    changed = [FIRST.model_copy(update={"question": "How tall is it?"}), *QUESTIONS[1:]]
    review = Review(path, changed)
    assert review.changed == (FIRST.id,) and review.pending() == changed and review.undo() is None


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_a_killed_process_left_unfinished_costs_that_verdict_only(path, cut):
    review = Review(path, QUESTIONS)
    review.give(FIRST, "accept")
    review.give(SECOND, "accept")
    path.write_bytes(path.read_bytes()[:-cut])
    after = Review(path, QUESTIONS)
    assert after.unfinished_lines == (cut > 1)
    assert (after.verdict(SECOND.id) is None) == (cut > 1)
    after.give(THIRD, "reject")
    again = Review(path, QUESTIONS)
    assert (again.verdict(FIRST.id).verdict, again.verdict(THIRD.id).verdict) == ("accept", "reject")


def test_two_sessions_on_one_file_lose_nothing(path):
    first, second = Review(path, QUESTIONS), Review(path, QUESTIONS)
    first.give(FIRST, "accept")
    second.give(SECOND, "reject")
    first.give(THIRD, "accept")
    assert Review(path, QUESTIONS).counts()[:5] == (6, 2, 0, 0, 1)


def test_sessions_on_one_file_take_in_each_others_verdicts(path):
    terminal, page = Review(path, QUESTIONS), Review(path, QUESTIONS)
    terminal.give(FIRST, "accept")
    page.refresh()
    assert page.pending() == list(QUESTIONS[1:])
    page.give(SECOND, "reject")
    terminal.undo(SECOND.id)  # given by the other
    assert page.verdict(SECOND.id) is not None
    page.refresh()
    assert page.verdict(SECOND.id) is None and page.undo() == FIRST


def test_undo_takes_back_what_this_session_gave_before_what_others_did(path):
    terminal, page = Review(path, QUESTIONS), Review(path, QUESTIONS)
    terminal.give(FIRST, "accept")
    page.give(SECOND, "reject")
    assert terminal.undo() == FIRST  # not the last of the file
    terminal.give(THIRD, "accept")
    terminal.give(FIRST, "accept")
    page.give(FIRST, "reject")  # which counts now
    assert terminal.undo() == THIRD and page.last.id == FIRST.id and page.undo() == FIRST


def test_eight_people_at_once_lose_no_verdict(path):
    questions = little_world(8)[1]

    def judge(question):
        Review(path, questions).give(question, "accept")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(judge, questions))
    assert Review(path, questions).counts().accepted == len(questions)


def test_a_line_that_is_being_written_counts_once_it_is_whole(path):
    review = Review(path, QUESTIONS)
    review.give(FIRST, "accept")
    line = Verdict(id=SECOND.id, record=record_fingerprint(SECOND), verdict="reject").model_dump_json() + "\n"
    for part, judged in ((line[:30], 1), (line[30:-1], 2), ("\n", 2)):
        with path.open("a") as file:
            file.write(part)
        review.refresh()
        assert review.counts().judged == judged and review.unfinished_lines == (part == line[:30])


def test_verdicts_that_are_moved_away_no_longer_count(path):
    review = Review(path, QUESTIONS)
    review.give(FIRST, "accept")
    path.rename(path.with_suffix(".old"))
    review.refresh()
    assert review.counts().judged == 0
    review.give(SECOND, "accept")
    assert review.verdict(FIRST.id) is None and Review(path, QUESTIONS).counts().judged == 1


def test_a_wrong_line_of_another_is_named_at_each_look_until_it_is_corrected(path):
    review = Review(path, QUESTIONS)
    review.give(FIRST, "accept")
    good = path.read_text()
    path.write_text(good + "{}\n")
    for _ in range(2):
        with pytest.raises(DatasetError, match="line 2 is not a verdict"):
            review.refresh()
    path.write_text(good)
    review.refresh()
    assert review.counts().judged == 1


def test_no_answer_to_an_unanswerable_record_accepts_it(path):
    review = Review(path, [without_answer(FIRST)])
    assert review.give(review.questions[0], "no answer") == "accept"


TEXT = "The tower of Oslo is 100 metres high. It was built in 1900 by a guild of masons."
OSLO = Document(id="Oslo.txt", text=TEXT)


@pytest.mark.parametrize(
    ("marked", "kind", "answer"),
    [
        (" 100 metres ", "span", "100 metres"),
        (TEXT[:37], "part", TEXT[:37]),
        ("high. It", "part", TEXT),
    ],
)
def test_marked_words_are_the_answer_and_whole_sentences_a_part(marked, kind, answer):
    start = TEXT.index(marked)
    record = marked_record(FIRST, OSLO, start, start + len(marked), yes=None)
    assert (record.kind, record.answers) == (kind, (answer,)) and check_evidence([record], [OSLO]) == []


def test_a_question_is_reworded_and_not_emptied():
    assert reworded_record(FIRST, " How tall is it? ").question == "How tall is it?"
    with pytest.raises(UsageError, match="the question is empty"):
        reworded_record(FIRST, " ")


@pytest.mark.parametrize("line", ['{"id": "x"}', "[]", '{"id":"a","record":"b","verdict":"edit"}'])
def test_a_line_that_is_no_verdict_is_named(path, line):
    path.write_text(f"\n{line}\n")
    with pytest.raises(DatasetError, match="line 2 is not a verdict") as caught:
        Review(path, QUESTIONS)
    assert "\n" not in str(caught.value)


def test_a_verdict_file_that_cannot_be_read_or_written_is_one_sentence(path, tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        Review(tmp_path, QUESTIONS)
    target = tmp_path / "other"
    target.write_text("")
    os.symlink(target, path)
    with pytest.raises(DatasetError, match="cannot be written"):
        Review(path, QUESTIONS).give(FIRST, "accept")
    assert target.read_text() == ""


def test_the_name_of_a_reviewer_stays_within_the_folder(tmp_path):
    assert verdict_path(tmp_path / "qa.jsonl", "ann").name == "qa.review-ann.jsonl"
    for name in ("../x", "a/b", ".", "a" * 65):
        with pytest.raises(UsageError, match="reviewer's name"):
            verdict_path(tmp_path / "qa.jsonl", name)


def test_the_files_of_verdicts_are_found_by_their_reviewers(tmp_path):
    records = tmp_path / "q[a].jsonl"
    for name in ("", "ann", "ben-2@office"):
        verdict_path(records, name).touch()
    for name in ("q[a].reviewed.jsonl", "q[a].review--x.jsonl", "qa.review-eve.jsonl", "q[a].review-x y.jsonl"):
        (tmp_path / name).touch()
    assert verdict_files(records) == {name: verdict_path(records, name) for name in ("", "ann", "ben-2@office")}


def test_the_fingerprint_of_a_record_changes_with_its_fields():
    prints = {record_fingerprint(question) for question in (*QUESTIONS, without_answer(FIRST))}
    assert len(prints) == len(QUESTIONS) + 1


def test_agreement_counts_records_that_both_judged(tmp_path):
    ann, ben = (Review(tmp_path / name, QUESTIONS) for name in ("a", "b"))
    for review, verdicts in (
        (ann, ("accept", "accept", "reject", "skip")),
        (ben, ("accept", "reject", "reject", "accept")),
    ):
        for question, verdict in zip(QUESTIONS, verdicts, strict=False):
            review.give(question, verdict)
    assert agreement(ann, Review(tmp_path / "c", QUESTIONS)).line() == "no record has been judged by both"
    found = agreement(ann, ben)
    assert (found.judged, found.same) == (3, 2)
    assert found.line() == "3 records judged by both, 2 the same (67%); Cohen's kappa 0.40"
    assert found.kappa == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))
    assert [(pair.question, pair.first.verdict, pair.second.verdict) for pair in found.disagreements] == [
        (SECOND, "accept", "reject")
    ]


def test_two_different_edits_are_a_disagreement(tmp_path):
    ann, ben = (Review(tmp_path / name, QUESTIONS) for name in ("a", "b"))
    for review, answer in ((ann, "100"), (ben, "100 metres high")):
        review.give(FIRST, "edit", FIRST.model_copy(update={"answers": (answer,)}))
    found = agreement(ann, ben)
    assert (found.same, found.kappa, len(found.disagreements)) == (1, None, 1)
    assert found.line().endswith("1 the same (100%); Cohen's kappa not defined, both gave one verdict to all")


def test_an_edit_holds_its_record_and_nothing_else_does():
    with pytest.raises(ValueError, match="must hold a record"):
        Verdict(id="a", record="b", verdict="accept", question=Question(id="a", question="Q?", answers=("x",)))


def test_a_verdict_file_is_one_object_per_line(path):
    Review(path, QUESTIONS).give(FIRST, "accept")
    assert json.loads(path.read_text()) == {"id": FIRST.id, "record": record_fingerprint(FIRST), "verdict": "accept"}
