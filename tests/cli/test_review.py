"""Question records looked through with keys from stdin, as people press them at a terminal."""

import json

import pytest
from commands import run_main
from data import little_world, write_little_world

from rag_ft.cli.review import find_words
from rag_ft.questions.records import check_evidence, read_questions
from rag_ft.questions.review import Review, edited_record, verdict_path
from rag_ft.text.spans import Span


@pytest.fixture
def world(tmp_path):
    return write_little_world(tmp_path)


def press(world, keys, *options, code=0):
    done = run_main(
        "data", "review", world / "qa.jsonl", "--documents", world / "docs", *options, stdin=keys, COLUMNS="80"
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def verdicts(world, by=""):
    path = verdict_path(world / "qa.jsonl", by)
    return [json.loads(line)["verdict"] for line in path.read_text().splitlines()] if path.exists() else []


def test_one_key_judges_a_record_and_the_review_resumes(world):
    before = (world / "qa.jsonl").read_bytes()
    out = press(world, "a r\ns")
    assert verdicts(world) == ["accept", "reject", "skip"]
    assert "1 of 24 · Oslo-1" in out and "▸100 metres◂" in out
    assert "2 of 24 records judged: 1 accepted (50%), 1 rejected (50%), 1 skipped" in out
    again = press(world, "a")
    assert "Oslo-1" not in again and "4 of 24 · Lima-1" in again
    assert (world / "qa.jsonl").read_bytes() == before


def test_undo_shows_the_record_again(world):
    out = press(world, "aaua")
    assert verdicts(world) == ["accept", "accept", "undo", "accept"]
    assert out.count("2 of 24 · Oslo-2") == 2
    assert "there is no verdict to undo" in press(world, "uuuq")


def test_an_edit_takes_the_chosen_words_as_evidence_and_answer(world):
    press(world, "e\n2\nguild of\n")
    edited = Review(verdict_path(world / "qa.jsonl"), read_questions(world / "qa.jsonl")).kept()[0]
    assert (edited.answers, edited.kind) == (("guild of",), "span")
    assert check_evidence([edited], little_world()[0]) == []


def test_an_edit_without_words_takes_whole_sentences(world):
    press(world, "e1-2\n\n")
    edited = Review(verdict_path(world / "qa.jsonl"), read_questions(world / "qa.jsonl")).kept()[0]
    assert edited.kind == "part" and edited.answers[0].endswith("by a guild of masons.")


def test_the_wording_is_edited(world):
    press(world, "w\nHow tall is it?\nw\n\nq")
    assert verdicts(world) == ["edit"]
    edited = Review(verdict_path(world / "qa.jsonl"), read_questions(world / "qa.jsonl")).kept()[0]
    assert edited.question == "How tall is it?" and edited.answers == ("100 metres",)


@pytest.mark.parametrize("keys", ["e\n\nq", "e", "e1", "e\n9\n\n", "e2\nbishop\n"])
def test_an_edit_that_is_not_finished_changes_nothing(world, keys):
    press(world, keys)
    assert verdicts(world) == []


def test_words_that_stand_there_twice_are_asked_for(world):
    (world / "docs" / "Oslo.txt").write_text("The tower of Oslo is 100 metres high; the tower is old.")
    out = press(world, "e1\nthe tower\n7\nthe tower\n2\n")
    assert "it stands there 2 times" in out
    edited = Review(verdict_path(world / "qa.jsonl"), read_questions(world / "qa.jsonl")).kept()[0]
    assert edited.evidence[0].start == 38 and edited.answers == ("the tower",)


def test_no_answer_to_an_unanswerable_question_accepts_it(world):
    press(world, "nan")
    assert verdicts(world) == ["no answer", "accept", "accept"]


def test_evidence_that_is_gone_cannot_be_accepted(world):
    (world / "docs" / "Oslo.txt").write_text("The tower of Oslo was torn down.")
    (world / "docs" / "Lima.txt").unlink()
    out = press(world, "ar ss a")
    assert "edit, reject or skip this record" in out and "there is no document 'Lima.txt'" in out
    assert verdicts(world) == ["reject", "skip", "skip"]


def test_skipped_records_are_asked_about_once_more(world):
    assert press(world, "s" * 23 + "a" + "s" * 40).count("Oslo-1: skip") <= 2
    assert Review(verdict_path(world / "qa.jsonl"), read_questions(world / "qa.jsonl")).counts().skipped == 23


def test_a_long_passage_is_shown_around_its_evidence_in_80_columns(world):
    text = "Before it stands a lot of text. " * 200
    (world / "docs" / "Oslo.txt").write_text(text + (world / "docs" / "Oslo.txt").read_text() + " After it. " * 300)
    record = json.loads((world / "qa.jsonl").read_text().splitlines()[0])
    record["evidence"][0]["start"] += len(text)
    record["evidence"][0]["end"] += len(text)
    (world / "qa.jsonl").write_text(json.dumps(record) + "\n")
    out = press(world, "q")
    assert max(map(len, out.splitlines()[:-2])) <= 80 and len(out) < 1500
    assert "▸100 metres◂" in " ".join(out.split()) and "… " in out
    assert len(press(world, "mq")) > len(out) * 2


def test_text_cannot_control_the_terminal(world):
    path = world / "docs" / "Oslo.txt"
    path.write_text(path.read_text() + " \x1b[2J[bold]gone[/bold] \u202e")
    out = press(world, "q")
    assert "\x1b[2J" not in out and "\u202e" not in out and "[bold]gone[/bold]" in out


def test_reviewed_writes_the_accepted_records(world):
    press(world, "arn", "--by", "ann")
    done = run_main("data", "reviewed", world / "qa.jsonl", "--by", "ann", "-o", world / "good.jsonl")
    assert done.returncode == 0 and "2 records" in done.stdout
    assert [question.id for question in read_questions(world / "good.jsonl")] == ["Oslo-1", "Oslo-3"]
    for output, message in (("good.jsonl", "already exists"), ("qa.jsonl", "made from"), ("no/x.jsonl", "folder")):
        refused = run_main("data", "reviewed", world / "qa.jsonl", "--by", "ann", "-o", world / output)
        assert refused.returncode == 2 and message in refused.stderr
    none = run_main("data", "reviewed", world / "qa.jsonl", "-o", world / "x.jsonl")
    assert none.returncode == 2 and "there are no verdicts" in none.stderr
    press(world, "r")
    assert run_main("data", "reviewed", world / "qa.jsonl", "-o", world / "x.jsonl").returncode == 1
    assert not (world / "x.jsonl").exists()


def test_agreement_names_the_records_that_two_people_disagree_on(world):
    press(world, "aar", "--by", "ann")
    press(world, "arr", "--by", "ben")
    files = [verdict_path(world / "qa.jsonl", name) for name in ("ann", "ben")]
    done = run_main("data", "agreement", world / "qa.jsonl", *files)
    assert "Oslo-2: accept / reject: When was the tower of Oslo built?" in done.stdout
    assert "3 records judged by both, 2 the same (67%); Cohen's kappa 0.40" in done.stdout
    figures = json.loads(run_main("data", "agreement", world / "qa.jsonl", *files, "--json").stdout)
    assert figures["kappa"] == pytest.approx(0.4) and figures["disagreements"][0]["id"] == "Oslo-2"
    assert run_main("data", "agreement", world / "qa.jsonl", files[0], world / "none").returncode == 2


def test_documents_come_from_one_place(world):
    for options in ((), ("--documents", world / "docs", "--index", world)):
        refused = run_main("data", "review", world / "qa.jsonl", *options)
        assert refused.returncode == 2 and "say where the documents are" in refused.stderr


def test_an_unknown_key_is_explained(world):
    assert "there is no key 'x'" in press(world, "xq")


def test_words_are_found_whole_in_any_case():
    text = "The art of C++ is an Art,\n  not a start."
    assert find_words(text, Span(0, len(text)), "art") == [Span(4, 7), Span(21, 24)]
    assert find_words(text, Span(0, len(text)), "art, not") == [Span(21, 31)]
    assert find_words(text, Span(0, len(text)), "c++") == [Span(11, 14)]
    assert find_words(text, Span(0, 10), "start") == []


def test_an_edited_record_keeps_id_question_and_origin():
    documents, questions = little_world(1)
    record = questions[2].model_copy(update={"origin": "made", "made_from": "x", "tags": ("t",)})
    edited = edited_record(record, documents[0], Span(0, 9), whole=False, yes=None)
    assert edited.answerable and edited.answers == ("The tower",)
    assert (edited.id, edited.question, edited.origin, edited.made_from, edited.tags) == (
        record.id,
        record.question,
        "made",
        "x",
        ("t",),
    )
