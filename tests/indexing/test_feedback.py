"""Feedback beside an index: through builds, additions, changes, removals and copies."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from data import little_world
from fakes import HashingEmbedder

from rag_ft.errors import EvidenceMovedError, UsageError
from rag_ft.indexing import feedback as feedback_module
from rag_ft.indexing.feedback import erase_feedback, read_feedback
from rag_ft.indexing.index import Index
from rag_ft.schema import Document, Evidence

QUESTION = "How high is the tower of Oslo?"


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return build(tmp_path / "index")


def build(path: Path, *changed: Document, without: str = "") -> Index:
    documents = {document.id: document for document in [*little_world()[0], *changed]}
    documents.pop(without, None)
    return Index.build(list(documents.values()), path, embedder=HashingEmbedder(), progress=False)


def at(index: Index, quote: str, document: str = "Oslo.txt") -> Evidence:
    start = index.document(document).text.index(quote)
    return Evidence(document_id=document, start=start, end=start + len(quote), quote=quote)


def say(index: Index, verdict: str = "right", quote: str = "metres", document: str = "Oslo.txt", **details: Any) -> Any:
    return index.add_feedback(details.pop("question", QUESTION), verdict, at(index, quote, document), **details)


def test_the_same_answer_again_replaces_and_withdrawing_erases(index):
    say(index, "right")
    say(index, "wrong")
    say(index, "right", by="anna")
    assert [(entry.verdict, entry.by) for entry in read_feedback(index)] == [("wrong", ""), ("right", "anna")]
    assert say(index, "withdraw") is None
    assert [entry.by for entry in read_feedback(index)] == ["anna"]
    say(index, "withdraw", by="bert")  # nothing of his is there
    assert len(read_feedback(index)) == 1


def test_feedback_survives_a_build_an_addition_and_the_removal_of_other_documents(index):
    say(index)
    say(index, document="Lima.txt", question="How high is Lima's?")
    before = read_feedback(index)
    build(index.path)
    index = Index.load(index.path, embedder=HashingEmbedder())
    index.add([Document(id="new.txt", text="A new text about nothing else.")], progress=False)
    assert read_feedback(index) == before
    report = index.remove("Lima.txt")
    assert report.feedback == 1
    assert [entry.evidence.document_id for entry in read_feedback(index)] == ["Oslo.txt"]


def test_removal_erases_what_names_the_document_and_verify_proves_it(index):
    say(index, question="Who knows the unrepeatable xylophone?")
    say(index, "better", document="Lima.txt", better=at(index, "metres"), question="And the other xylophone?")
    assert index.remove("Oslo.txt", dry_run=True).feedback == 2
    index.remove("Oslo.txt")
    assert not (index.path / "feedback.jsonl").exists()
    assert index.verify(absent="Oslo.txt").ok
    assert not any(b"xylophone" in path.read_bytes() for path in index.path.rglob("*") if path.is_file())


def test_a_build_that_drops_a_document_erases_its_feedback(index):
    say(index)
    index = build(index.path, without="Oslo.txt")
    assert read_feedback(index) == [] and not (index.path / "feedback.jsonl").exists()


def test_a_kill_between_commit_and_sweep_is_seen_and_made_good(index, monkeypatch):
    say(index)
    with monkeypatch.context() as patched:
        patched.setattr("rag_ft.indexing.storage.store.IndexStore.sweep", _killed_after_commit(index))
        with pytest.raises(KeyboardInterrupt):
            index.remove("Oslo.txt")
    index = Index.load(index.path, embedder=HashingEmbedder())
    assert read_feedback(index) == []
    report = index.verify(absent="Oslo.txt")
    assert not next(check for check in report.checks if check.name == "feedback").ok
    assert not next(check for check in report.checks if check.name == "absent: files").ok
    index.add([Document(id="new.txt", text="Another text.")], progress=False)
    assert index.verify(absent="Oslo.txt").ok


def _killed_after_commit(index: Index) -> Any:
    before = index.manifest.generation

    def sweep(store, keep, *, journal):
        if keep != before:
            raise KeyboardInterrupt

    return sweep


def test_words_that_moved_are_followed_and_words_that_are_gone_are_kept_apart(index):
    say(index)
    say(index, quote="guild of masons", question="Who built it?")
    text = index.document("Oslo.txt").text
    moved = "A note before. " + text.replace("guild of masons", "company of carpenters")
    index = build(index.path, Document(id="Oslo.txt", text=moved, title="Oslo"))
    made = index.feedback_questions()
    (record,) = made.records
    piece = record.evidence[0]
    assert moved[piece.start : piece.end] == piece.quote == "metres"
    assert [entry.question for entry in made.moved] == ["Who built it?"]
    assert "no longer has" in " ".join(made.lines())
    erase_feedback(index, made.moved)
    assert index.feedback_questions().moved == () and len(read_feedback(index)) == 1


def test_words_that_stand_twice_after_a_change_are_kept_apart(index):
    say(index)
    text = "Two metres, two metres."
    index = build(index.path, Document(id="Oslo.txt", text=text, title="Oslo"))
    assert len(index.feedback_questions().moved) == 1


def test_better_words_are_trimmed_and_long_ones_become_whole_sentences(index):
    text = index.document("Oslo.txt").text
    padded = Evidence(document_id="Oslo.txt", start=0, end=10, quote=text[:10])
    assert text[:10] == "The tower "
    entry = say(index, "better", better=padded)
    assert (entry.better.quote, entry.kind) == ("The tower", "span")
    entry = say(index, "better", better=at(index, "high. It was built"))
    assert (entry.better.quote, entry.kind) == (text, "part")
    assert index.feedback_questions().records[0].kind == "part"


def test_what_was_shown_and_is_called_the_answer_keeps_its_kind_and_its_yes_or_no(index):
    shown = at(index, "It was built")
    entry = index.add_feedback(QUESTION, "better", shown, better=shown, kind="part", yes=False, answered=False)
    assert (entry.kind, entry.yes) == ("part", False)
    (record,) = index.feedback_questions().records
    assert (record.kind, record.yes) == ("part", False)
    other = index.add_feedback(QUESTION, "better", shown, better=at(index, "metres"), kind="part", yes=False)
    assert (other.kind, other.yes) == ("span", None)  # of words marked elsewhere nobody has said what they are


def test_a_place_that_does_not_hold_the_words_is_refused(index):
    wrong = at(index, "metres").model_copy(update={"quote": "meters"})
    with pytest.raises(EvidenceMovedError, match="does not hold the quote"):
        index.add_feedback(QUESTION, "right", wrong)
    with pytest.raises(UsageError, match="no document 'none'"):
        index.add_feedback(QUESTION, "right", wrong.model_copy(update={"document_id": "none"}))
    with pytest.raises(UsageError, match="not a verdict"):
        say(index, "good")
    with pytest.raises(UsageError, match="better"):
        say(index, "better")
    with pytest.raises(UsageError, match="question"):
        say(index, question="  ")
    assert not (index.path / "feedback.jsonl").exists()


def test_the_document_is_looked_up_as_it_is_on_disk_now(index):
    evidence = at(index, "metres")
    Index.load(index.path, embedder=HashingEmbedder()).remove("Oslo.txt")
    with pytest.raises(UsageError, match="no document"):
        index.add_feedback(QUESTION, "right", evidence)


def test_the_part_for_some_groups_shows_their_feedback_alone(tmp_path):
    text = "The secret tower is 12 metres high."
    hidden = Document(id="hidden.txt", text=text, metadata={"access": ["board"]})
    index = build(tmp_path / "index", hidden)
    with pytest.raises(UsageError, match=r"no document 'hidden.txt'"):
        say(index, document="hidden.txt", access=["staff"])
    say(index, document="hidden.txt", access=["board"])
    assert read_feedback(index.visible_to(["staff"])) == []
    assert len(read_feedback(index.visible_to(["board"]))) == 1
    with pytest.raises(UsageError, match="part for some groups"):
        say(index.visible_to(["staff"]))


def test_limits_for_the_index_and_for_one_giver(index, monkeypatch):
    monkeypatch.setattr(feedback_module, "MOST_RECORDS", 3)
    monkeypatch.setattr(feedback_module, "MOST_BY_ONE", 1)
    say(index, by="anna")
    say(index, "wrong", by="anna")
    with pytest.raises(UsageError, match="limit for one token"):
        say(index, question="Another?", by="anna")
    say(index, by="bert")
    say(index)
    with pytest.raises(UsageError, match="keeps 3 feedback records"):
        say(index, by="cleo")


def test_a_copy_takes_the_feedback_along_and_keeps_what_was_there(index, tmp_path):
    say(index, by="anna")
    index.save(tmp_path / "copy")
    copy = Index.load(tmp_path / "copy", embedder=HashingEmbedder())
    assert read_feedback(copy) == read_feedback(index)
    say(copy, by="bert")
    say(index, "wrong", by="anna")
    index.save(tmp_path / "copy")
    assert [(entry.by, entry.verdict) for entry in read_feedback(copy)] == [("bert", "right"), ("anna", "wrong")]


def test_a_damaged_file_stops_no_build_and_is_reported(index, caplog):
    (index.path / "feedback.jsonl").write_text("{}\n")
    index.add([Document(id="new.txt", text="Another text.")], progress=False)
    assert "could not be erased" in caplog.text
    assert not index.verify().ok
    shutil.rmtree(index.path)
