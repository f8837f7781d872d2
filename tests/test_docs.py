import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rag_ft import Answer, Question
from rag_ft.evaluation.recipe import read_recipe

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
FRONT = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "evals/README.md")]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LONGEST_PARAGRAPH = 90
"""Words, so that a reader finds one thing per paragraph."""


def paragraphs(text):
    """The paragraphs and list items of a page, without its code blocks, tables, headings and comments."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^(?:\||#|    ).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return [part.split() for part in re.split(r"\n\s*\n|\n(?=- |\d+\. )", text) if part.strip()]


def anchors(text):
    """The names that links to the headings of a page may end in."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_published_schema_is_the_answers():
    assert json.loads((ROOT / "docs" / "answer.schema.json").read_text()) == Answer.model_json_schema()


@pytest.mark.parametrize(
    "page", [*PAGES, *FRONT, *sorted((ROOT / "datasets" / "handbook").glob("*.md"))], ids=lambda p: p.name
)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [*PAGES, *FRONT], ids=lambda p: p.name)
def test_links_to_a_heading_lead_to_one(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert anchor in anchors(there.read_text(encoding="utf-8")), f"{target}#{anchor}"


@pytest.mark.parametrize("page", [*PAGES, *FRONT], ids=lambda p: p.name)
def test_no_paragraph_is_too_long_to_be_found(page):
    for words in paragraphs(page.read_text(encoding="utf-8")):
        assert len(words) <= LONGEST_PARAGRAPH, f"{len(words)} words: {' '.join(words[:12])} ..."


@pytest.mark.parametrize("page", [*PAGES, *FRONT], ids=lambda p: p.name)
def test_files_that_a_page_names_are_there(page):
    for name in re.findall(r"`((?:rag_ft|tests|benchmarks)/[\w/.]+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", [*PAGES, *FRONT], ids=lambda p: p.name)
def test_the_json_of_a_page_is_json(page):
    for block in re.findall(r"^```json\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            json.loads(line)


def test_every_question_record_that_a_page_shows_is_one():
    blocks = re.findall(r"^```json\n(.*?)^```", (ROOT / "docs" / "tuning.md").read_text(), re.DOTALL | re.MULTILINE)
    records = [Question.model_validate_json(line) for block in blocks for line in block.splitlines()]
    assert {record.kind for record in records} == {"span", "part"}
    for record in records:
        (evidence,) = record.evidence
        assert len(evidence.quote) == evidence.end - evidence.start and record.answers[0] in evidence.quote


def test_the_recipe_that_a_page_shows_is_one(tmp_path):
    recipe, *others = re.findall(
        r"^```toml\n(.*?)^```", (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    curve = next(part for part in others if part.startswith("[learning_curve]"))
    prices = next(part for part in others if part.startswith("[prices]")).replace("large model", "tuned, with passages")
    (tmp_path / "judge.toml").write_text(recipe + curve + prices, encoding="utf-8")
    assert len(read_recipe(tmp_path / "judge.toml").arm) == 2


def commands(text):
    """The words of every `rag-ft` command in the code blocks of a page, without what it is piped into or from."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if not language:
            for command in re.findall(r"(?:^|[|=)] ?|&& )(?:\.venv/bin/)?rag-ft ([^|<>\n]+)", block, re.MULTILINE):
                yield shlex.split(command, comments=True)


@pytest.mark.parametrize("page", [*PAGES, *FRONT], ids=lambda p: p.name)
def test_the_commands_of_a_page_have_the_options_that_it_gives_them(page):
    from typer.main import get_command

    from rag_ft.cli import app

    for words in commands(page.read_text(encoding="utf-8")):
        command = get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        if hasattr(command, "commands"):  # rag-ft eval RECIPE
            command = command.commands["run"]
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [word for word in words if re.match("--?[a-z]", word) and word not in options]
        assert not unknown, f"rag-ft {command.name}: {unknown}"


@pytest.mark.slow
@pytest.mark.timeout(600)  # the first of them builds the index
@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text())], ids=lambda p: p.name)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, request):
    """The index of the handbook is there already, so that building it finds nothing to do."""
    code = "\n".join(BLOCK.findall(page.read_text(encoding="utf-8")))
    if "handbook_path" in code:
        shutil.copytree(request.getfixturevalue("handbook_index"), tmp_path / "handbook-index")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
