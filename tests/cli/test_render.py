import io
from pathlib import Path

import pytest
from rich.console import Console

from rag_ft.cli.render import Terminal, print_answer, print_ocr_hint, short
from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.storage.manifest import BuildReport, Failure
from rag_ft.schema import Answer, Citation, DeclinedAnswer, Item, Passage, Provenance, RetrievedPassage, Usage

TEXT = "It costs 5 euros\nand 20 cents. [bold]Not markup[/bold]."


def answer(**changes) -> Answer:
    passage = Passage(id="d#10-70", document_id="d", text=TEXT, start=10, end=10 + len(TEXT), source="d.txt")
    citation = Citation(
        passage_id=passage.id,
        document_id="d",
        source="d.txt",
        title="",
        page=2,
        quote=TEXT,
        start=10,
        end=10 + len(TEXT),
        answer_start=10 + TEXT.index("euros"),
        answer_end=10 + TEXT.index(" cents"),
        verdict="supported",
    )
    fields = {
        "question": "How much?",
        "answer": "euros\nand 20",
        "citations": (citation,),
        "confidence": 0.5,
        "abstained": False,
        "complete": True,
        "completion": "{}",
        "passages": (RetrievedPassage(passage=passage, score=1.0, rank=1, read=False),),
        "usage": Usage(
            prompt_tokens=7, completion_tokens=3, retrieve_seconds=0.1, read_seconds=1.0, verify_seconds=0.0
        ),
        "provenance": Provenance(
            index="", embedder="", base_model="", adapter=None, prompt="", mode="quote", reading="joint"
        ),
    }
    return Answer.model_validate({**fields, **changes})


def test_the_line_stands_where_there_is_no_page():
    given = answer()
    (citation,) = given.citations
    lined = citation.model_copy(update={"page": None, "line": 12})
    assert "d.txt  line 12, characters 10-" in printed(given.model_copy(update={"citations": (lined,)}), colour=False)


def printed(given: Answer, colour: bool) -> str:
    file = io.StringIO()
    print_answer(given, Console(file=file, force_terminal=colour, width=200, highlight=False, soft_wrap=True))
    return file.getvalue()


def test_the_place_in_a_sheet_is_printed_beside_the_source():
    given = answer()
    citation = given.citations[0].model_copy(update={"page": None, "location": "sheet Prices, cell C12"})
    assert "d.txt  sheet Prices, cell C12, characters 10-" in printed(answer(citations=(citation,)), colour=False)


def test_the_answer_is_highlighted_inside_its_quote_on_a_terminal():
    assert "\x1b[1;7meuros and 20\x1b[0m cents." in printed(answer(), colour=True)
    plain = printed(answer(), colour=False)
    assert "\x1b[" not in plain
    assert "“It costs 5 euros and 20 cents. [bold]Not markup[/bold].”" in plain
    assert "page 2, characters 10-" in plain and "supported" in plain
    assert "1 of 1 passages did not fit the prompt" in plain


def test_a_list_is_shown_in_lines_up_to_a_limit():
    text = "Check these:\n\n" + "\n".join(f"- part {number}" for number in range(30))
    items = tuple(Item(text=f"part {number}", start=number, end=number + 6) for number in range(30))
    lines = printed(answer(answer=text, kind="part", yes=True, items=items), colour=False).split("\n")
    assert lines[:3] == ["Yes: Check these:", "- part 0", "- part 1"]
    assert lines[20] == "… and 11 more lines (--json has them)"


def test_code_keeps_its_lines():
    part = printed(answer(answer="Run this:\n\n    make\n    make install", kind="part"), colour=False)
    assert part.split("\n")[:3] == ["Run this:", "    make", "    make install"]


def test_no_answer_and_a_broken_completion_are_told_apart():
    null = printed(answer(answer=None, citations=(), abstained=True), colour=False)
    assert "no answer in the passages" in null and "read: d" in null
    broken = printed(answer(answer=None, citations=(), complete=False, completion='{"answer'), colour=False)
    assert "the completion was cut off" in broken and '{"answer' in broken


def test_a_declined_answer_is_shown_as_unsure_with_its_quote():
    given = answer()
    unsure = DeclinedAnswer(answer=given.answer, citations=given.citations, confidence=0.16)
    lines = printed(
        answer(answer=None, citations=(), abstained=True, confidence=0.84, declined=unsure), colour=False
    ).split("\n")
    assert lines[:2] == ["not sure enough to answer; the best found is 16% likely to be right:", "euros and 20"]
    assert "[1] d.txt" in lines[2] and "“It costs 5 euros and 20 cents." in lines[3]
    assert "confidence 0.16" in lines[4]


def test_what_a_follow_up_was_searched_with_is_printed():
    followed = printed(answer(history=("Who?", "Why?"), history_left_out=2, searched="x"), colour=False)
    assert "searched with: Who? / Why?" in followed and "2 earlier questions not searched" in followed
    assert "searched" not in printed(answer(), colour=False)


def test_paths_are_shown_as_seen_from_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert short(tmp_path / "a" / "b.md") == "a/b.md"
    assert short(Path.home() / "c.md") == "~/c.md"
    assert short("https://example.org/x") == "https://example.org/x"
    assert short("/elsewhere/d.md") == "/elsewhere/d.md"


@pytest.mark.parametrize("available", [True, False])
@pytest.mark.parametrize(
    "report",
    [
        BuildReport(losses={"a.pdf": Conservation(words=5, pages_without_text=(2,))}),
        BuildReport(failures=(Failure("/docs/a.pdf", "has no text layer (scanned pages?)"),)),
        BuildReport(failures=(Failure("/docs/a.PNG", "is of a kind that is not read here"),)),
    ],
    ids=["some pages", "all pages", "an image"],
)
def test_pages_that_are_images_are_named_with_the_command_that_reads_them(report, available, monkeypatch, capsys):
    monkeypatch.setattr("rag_ft.indexing.ocr.engine.is_available", lambda: available)
    print_ocr_hint(report, Terminal())
    install = "" if available else "pip install 'rag-ft[ocr]' and apt install tesseract-ocr, then "
    assert capsys.readouterr().out == f"to recognise the text of pages that are images: {install}add --ocr\n"


def test_nothing_is_said_of_recognition_where_every_page_has_text(capsys):
    print_ocr_hint(BuildReport(failures=(Failure("/docs/a.pdf", "is damaged"),)), Terminal())
    assert capsys.readouterr().out == ""


def test_a_job_of_several_stages_prints_a_line_when_a_part_begins():
    from rag_ft.cli.render import StageLine, Terminal
    from rag_ft.progress import Progress

    text = io.StringIO()
    with StageLine(Terminal(file=text)) as line:
        for done in range(3):
            line.update(Progress("training", done, 1000, 200.0))
        line.update(Progress("after tuning", 16))
    assert text.getvalue().splitlines() == ["training: 0 of 1,000, 3 min left", "after tuning: 16"]
