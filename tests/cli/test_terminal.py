import io
import json
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from fakes import HashingEmbedder
from rich.markdown import Markdown
from rich.text import Text

import rag_ft.cli
from rag_ft.cli import main
from rag_ft.cli.render import EvaluationLine, Terminal, print_answer
from rag_ft.cli.terminal import HARMFUL, LogFormatter, printed_lines, shown, shown_json, shown_lines, unprinted
from rag_ft.progress import Progress
from rag_ft.schema import Answer
from rag_ft.serving.http.openapi import ANSWER

HOSTILE = "a\x1b[2Jb\x9b31m\x07\r\n\u202egnp.\u2028\x7f\x00[red]c[/red] :smile: \U0001f600 é"


def harmful(text: str) -> list[str]:
    return sorted({match.group() for match in HARMFUL.finditer(text)} - {"\n"})


def terminal(**settings) -> Terminal:
    return Terminal(file=io.StringIO(), width=200, **settings)


def test_every_character_that_steers_a_terminal_is_escaped_and_all_others_stay():
    assert shown("a\x1b[2Jb") == "a\\x1b[2Jb"
    assert shown("\n\r\t\x9b\u202e\u2028\udcff") == "\\n\\r\\t\\x9b\\u202e\\u2028\\udcff"
    assert shown_lines("two\nlines\tand \x1b") == "two\nlines\tand \\x1b"
    kept = "[red]é 漢字 עברית \U0001f600 a\u200db \\x1b"
    assert shown(kept) == shown_lines(kept) == kept


def test_json_says_the_same_and_holds_nothing_harmful():
    content = json.dumps({HOSTILE: [HOSTILE, 1.5]}, ensure_ascii=False)
    assert harmful(content)
    assert not harmful(shown_json(content)) and json.loads(shown_json(content)) == json.loads(content)


@pytest.mark.parametrize("content", [HOSTILE, Text(HOSTILE, style="bold"), Text("x ").append(HOSTILE, style="red")])
@pytest.mark.parametrize("colours", [True, False])
def test_a_console_prints_one_line_without_escapes_markup_or_emoji_of_the_texts_own(content, colours):
    console = terminal(force_terminal=colours)
    console.print(content)
    printed = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue(), count=2)  # the style's own, before and after
    printed = re.sub(r"\x1b\[[0-9;]*m", "", printed) if colours else printed
    assert not harmful(printed) and printed.count("\n") == 1
    assert "a\\x1b[2Jb" in printed and "[red]c[/red] :smile:" in printed


def test_the_style_of_a_text_covers_what_it_covered():
    console = terminal(force_terminal=True, color_system="standard")
    console.print(Text("one ").append("t\x1bo", style="bold").append(" three"))
    printed = console.file.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", printed) == "one t\\x1bo three\n"
    assert (
        "\x1b[1m\\x1b\x1b[0m" in printed and printed.startswith("one \x1b[1m") and printed.endswith("\x1b[0m three\n")
    )


def test_an_answer_whose_every_text_is_hostile_prints_nothing_harmful():
    def spoilt(value):
        if isinstance(value, dict):
            return {name: spoilt(item) for name, item in value.items()}
        if isinstance(value, list):
            return [spoilt(item) for item in value]
        return value + HOSTILE if isinstance(value, str) else value

    fields = spoilt(ANSWER)
    for citation, before in zip(fields["citations"], ANSWER["citations"], strict=True):
        citation["verdict"] = before["verdict"]
    fields["provenance"] |= {name: ANSWER["provenance"][name] for name in ("mode", "reading")}
    answer = Answer.model_validate(fields)
    for changed in ({}, {"citations": ()}, {"answer": None}, {"answer": None, "complete": False}):
        console = terminal(force_terminal=False)
        print_answer(answer.model_copy(update=changed), console)
        assert not harmful(console.file.getvalue())


def test_markdown_cannot_name_what_steers_a_terminal_or_hide_where_a_link_leads():
    console = terminal(force_terminal=False)
    console.print(Markdown("&#27;[2J &#x9b; &rlm; &#x202e;x [here](https://evil.example) `\x1b[2J`", hyperlinks=False))
    printed = console.file.getvalue()
    assert not harmful(printed) and "https://evil.example" in printed and "\\u202ex" in printed


def test_a_status_line_shows_names_without_their_escapes():
    console = terminal(force_terminal=False)
    EvaluationLine(console).update(Progress(HOSTILE, done=2, total=2))
    assert not harmful(console.file.getvalue())


def test_lines_for_people_are_printed_once_and_without_a_prefix(caplog):
    console = terminal(force_terminal=False)
    training, other = logging.getLogger("rag_ft.training.run"), logging.getLogger("rag_ft.progress")
    with printed_lines("rag_ft.training", console.print):
        training.info("plan of %s", HOSTILE)
        training.warning("a checkpoint is damaged")
        other.info("fetching")
    training.info("nobody listens")
    assert console.file.getvalue() == f"plan of {shown(HOSTILE)}\n"
    assert [unprinted(record) for record in caplog.records] == [False, True]
    assert not training.isEnabledFor(logging.INFO)


def test_log_lines_and_their_tracebacks_are_harmless():
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record = logging.LogRecord("rag_ft", logging.ERROR, "x.py", 1, "%s failed", (HOSTILE,), sys.exc_info())
    lines = LogFormatter("%(levelname)s %(name)s: %(message)s").format(record)
    assert not harmful(lines)
    assert lines.splitlines()[0].startswith("ERROR rag_ft: a\\x1b[2Jb") and "Traceback" in lines


def test_a_hostile_file_name_goes_through_every_command_without_reaching_the_terminal(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("rag_ft.indexing.index.load_embedder", lambda name: HashingEmbedder())
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    docs, index = tmp_path / "docs", tmp_path / "index"
    docs.mkdir()
    (docs / "a\x1b[2Jb.txt").write_text("A \x1b]0;owned\x07 title\n\nThe tower of Riga is 199 metres high.")
    (docs / "c\x1b[31m\nd.pdf").write_bytes(b"%PDF-1.7\n1 0 obj")
    (docs / "[red]:smile:.txt").write_text("The tower of Oslo is 100 metres high.")

    def printed(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["rag-ft", *map(str, arguments)])
        with pytest.raises(SystemExit):
            main()
        read = capfd.readouterr()
        assert not harmful(read.out + read.err), arguments
        return read.out + read.err

    built = printed("index", "build", docs, index)
    assert "a\\x1b[2Jb.txt" in built and "c\\x1b[31m\\nd.pdf" in built
    listed = printed("index", "info", index, "--documents")
    assert "a\\x1b[2Jb.txt" in listed and "[red]:smile:.txt" in listed
    assert "a\x1b[2Jb.txt" in json.loads(printed("index", "info", index, "--documents", "--json"))["documents"]
    printed("index", "verify", index, "--absent", "x\x1b[2J")
    printed("index", "remove", index, "e\x1b[2Jf")
    assert "Traceback" in printed("--debug", "index", "remove", index, "e\x1b[2Jf")
    printed("index", "build", docs, index, "--kind", "\x1b[2J")
    printed("\x1b[2Jnonsense")
    printed("index", "info", tmp_path / "g\x1b[2Jh")
    assert "a\\x1b[2Jb.txt removed" in printed("index", "remove", index, "a\x1b[2Jb.txt")


def test_the_real_command_shows_the_escapes_of_a_file_name(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a\x1b[2Jb.txt").write_text("")
    command = [sys.executable, "-m", "rag_ft", "index", "build", str(tmp_path / "docs"), str(tmp_path / "index")]
    done = subprocess.run(command, capture_output=True, timeout=280)
    assert b"a\\x1b[2Jb.txt" in done.stdout + done.stderr and b"\x1b" not in done.stdout + done.stderr


def test_no_command_prints_past_the_one_place():
    past = re.compile(
        r"\btyper\.echo\(|(?<![\w.])(?<!def )print\(|\bsys\.std(?:out|err)\.write|(?<!class Terminal\()\bConsole\("
    )
    # The version, and an error with its traceback, which are shown there by hand.
    allowed = {"terminal.py": 1, "__init__.py": 3, "token.py": 1}
    for path in Path(rag_ft.cli.__file__).parent.glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if past.search(line)]
        assert len(lines) == allowed.get(path.name, 0), (path.name, lines)
