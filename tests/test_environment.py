import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from rag_ft.environment import handbook_path, handbook_questions_path
from rag_ft.indexing.corpus import read_corpus
from rag_ft.questions.records import check_evidence, read_questions
from rag_ft.questions.wording import question_key
from rag_ft.text.parts import passage_units, units_within

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def pages():
    contents = read_corpus(handbook_path()).read_all()
    assert contents.failures == []
    return contents.documents


def test_there_are_enough_pages_and_they_have_titles_and_topics(pages):
    assert len(pages) >= 30
    for page in pages:
        assert page.title and page.headings[0].text == page.title
        assert page.metadata["topic"] in ("tuning", "retrieval", "evaluation", "serving")
        assert 350 <= len(page.text.split()) <= 1000
    assert len({page.title for page in pages}) == len(pages)


def test_every_quote_stands_at_its_offsets_and_holds_an_answer(pages):
    questions = read_questions(handbook_questions_path())
    assert len(questions) >= 150
    assert check_evidence(questions, pages) == []
    assert all(question.evidence for question in questions)
    unanswerable = sum(not question.answerable for question in questions) / len(questions)
    assert 0.17 <= unanswerable <= 0.25
    assert max(Counter(question.question for question in questions).values()) == 1


@pytest.fixture(scope="module")
def asked():
    return read_questions(handbook_path() / "asked.jsonl")


def test_asked_questions_cover_all_pages_and_have_their_evidence(asked, pages):
    assert len(asked) >= 110
    assert check_evidence(asked, pages) == []
    assert {piece.document_id for question in asked for piece in question.evidence} == {page.id for page in pages}
    assert all(question.evidence for question in asked)
    assert len({question_key(question.question) for question in asked}) == len(asked)
    assert sum(not question.answerable for question in asked) >= 15


def test_every_accepted_part_of_an_asked_question_is_all_of_a_piece_of_evidence(asked):
    for question in asked:
        if question.kind == "part":
            assert set(question.answers) == {piece.quote for piece in question.evidence}, question.id
        else:
            assert all(len(answer.split()) <= 10 for answer in question.answers)


def test_an_asked_question_names_a_unit_that_a_reader_can_give(asked, pages):
    """The evidence covers half of at least one unit, else a run would leave the question out."""
    texts = {page.id: page.text for page in pages}
    for question in asked:
        if question.kind == "part":
            assert any(
                units_within(text := texts[piece.document_id], passage_units(text), piece.start, piece.end)
                for piece in question.evidence
            ), question.id


def test_yes_and_no_are_asked_about_equally_often(asked):
    polarities = Counter(question.yes for question in asked if question.yes is not None)
    assert polarities[True] + polarities[False] >= 25
    assert 0.4 <= polarities[True] / polarities.total() <= 0.6
    assert all((question.yes is not None) == ("whether" in question.tags) for question in asked)


def test_the_data_card_counts_the_asked_questions_by_kind(asked):
    card = (ROOT / "datasets" / "README.md").read_text()
    for kind, count in Counter(question.tags[1] for question in asked).items():
        assert f"| {kind} | {count} |" in card
    assert f"{len(asked)} records" in card


def test_every_follow_up_has_the_evidence_of_a_question_that_asks_the_same_in_full_words(pages):
    follow_ups = read_questions(handbook_path() / "follow-ups.jsonl")
    whole = {question.id: question for question in read_questions(handbook_questions_path())}
    assert check_evidence(follow_ups, pages) == []
    for follow_up in follow_ups:
        asked = whole[follow_up.id.removesuffix("-follow-up")]
        assert (follow_up.answers, follow_up.evidence) == (asked.answers, asked.evidence)
        assert follow_up.history and follow_up.question != asked.question
    assert f"`follow-ups.jsonl`: {len(follow_ups)} questions" in (ROOT / "datasets" / "README.md").read_text()


def test_the_data_card_counts_the_pages(pages):
    assert f"| what | {len(pages)} pages " in (ROOT / "datasets" / "README.md").read_text()


def test_question_records_are_not_indexed_as_documents(pages):
    assert all(page.id.endswith(".md") for page in pages)


@pytest.mark.slow
@pytest.mark.network
def test_an_installed_wheel_brings_the_handbook_and_its_demo_runs_outside_the_checkout(tmp_path):
    """Installed without dependencies into a folder of its own; those come from the running environment."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "rag_ft", "demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "handbook: site/rag_ft/_bundled/handbook" in done.stderr
    assert "supported" in done.stdout
