import pytest
from commands import invoke, run_main
from data import bigger_world

from rag_ft.questions.records import write_questions


@pytest.fixture
def documents(tmp_path):
    """Folder of documents, and a file of their records beside it."""
    found, questions = bigger_world()
    (tmp_path / "docs").mkdir()
    for document in found:
        (tmp_path / "docs" / document.id).write_text(document.text)
    write_questions(questions, tmp_path / "qa.jsonl")
    write_questions(questions[:30], tmp_path / "few.jsonl")
    return tmp_path


def test_a_wrong_call_is_one_sentence_and_leaves_nothing(documents):
    shown = run_main("adapt", documents / "docs", "-o", documents / "docs" / "out")
    assert shown.returncode == 2 and "is inside" in shown.stderr and len(shown.stderr.splitlines()) == 1
    shown = run_main("adapt", documents / "docs", "-o", documents / "out", "--minutes", 0, "--make", 3)
    assert shown.returncode == 2 and "minutes is 0 but" in shown.stderr and not (documents / "out").exists()


@pytest.mark.slow
def test_too_few_records_end_with_a_verdict_and_status_0(documents):
    call = ("adapt", documents / "docs", "-o", documents / "out", "--questions", documents / "few.jsonl")
    shown = run_main(*call)
    assert shown.returncode == 0, shown.stderr
    assert "1/7 index " in shown.stdout and "nothing is trained" in shown.stdout
    assert "Whether tuning is worth it cannot be told: the packaged reader stays." in shown.stdout
    assert f"page: {documents / 'out' / 'verdict.html'}" in shown.stdout
    assert f"ask: rag-ft ask QUESTION --index {documents / 'out' / 'index'}" in shown.stdout


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_packaged_reader_goes_on_with_a_few_pages_of_the_handbook(tmp_path):
    """The whole of it, with the real reader: documents, records, plan, training, verdict; and nothing again."""
    import shutil

    from rag_ft.environment import handbook_path, handbook_questions_path
    from rag_ft.questions.records import read_questions

    records = read_questions(handbook_questions_path())
    pages = sorted({record.evidence[0].document_id for record in records})[:16]
    (tmp_path / "docs").mkdir()
    for page in pages:
        shutil.copy(handbook_path() / page, tmp_path / "docs")
    about = [record for record in records if {piece.document_id for piece in record.evidence} <= {*pages}]
    write_questions(about, tmp_path / "qa.jsonl")
    call = ("adapt", tmp_path / "docs", "-o", tmp_path / "out", "--questions", tmp_path / "qa.jsonl", "--minutes", 0.1)
    first = invoke(*call)
    assert first.exit_code == 0, first.output
    assert "0.1 minutes are too few: this is the least that makes sense" in first.output
    page = (tmp_path / "out" / "verdict.html").read_text()
    assert "ask: rag-ft ask QUESTION --index" in first.output and "F1 is" in page
    again = invoke(*call)
    assert again.output.count("done before with the same inputs: skipped") >= 4
    assert again.output.splitlines()[-1] == first.output.splitlines()[-1]
