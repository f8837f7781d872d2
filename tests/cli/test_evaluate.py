import json

import pytest
from commands import invoke
from data import write_little_world

from rag_ft.cli.evaluate import _recipe
from rag_ft.errors import UsageError

RECIPE = """title = "Little"
questions = "qa.jsonl"
documents = "docs"
primary = { first = "top", second = "sentence" }

[[arm]]
name = "top"
kind = "passage"

[[arm]]
name = "sentence"
kind = "sentence"
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = write_little_world(tmp_path_factory.mktemp("cli-eval"))
    (folder / "little.toml").write_text(RECIPE)
    return folder / "little.toml"


@pytest.mark.slow
def test_a_recipe_is_run_compared_and_reproduced(recipe, tmp_path):
    """With the real embedder."""
    done = invoke("eval", recipe)
    assert done.return_value == 0, done.output
    assert "24 of 24 questions about 8 documents" in done.output and "report.html" in done.output
    results = json.loads((recipe.parent / "little" / "results.json").read_text())
    assert [arm["name"] for arm in results["arms"]] == ["top", "sentence"]
    few = invoke("eval", recipe, "--limit", 6)
    assert few.return_value == 0 and (recipe.parent / "little-6" / "report.html").is_file()
    same = invoke("eval", "compare", recipe.parent / "little", recipe.parent / "little")
    assert "no difference" in same.output
    paged = invoke("eval", "compare", recipe.parent / "little", recipe.parent / "little-6", "-o", tmp_path / "page")
    assert paged.return_value == 0 and (tmp_path / "page" / "compare.html").is_file()
    assert "compare.html" in paged.output
    again = invoke("eval", "reproduce", recipe.parent / "little", recipe, "--output", tmp_path / "again")
    assert again.return_value == 0 and "every figure is the same" in again.output
    twice = invoke("eval", "reproduce", recipe.parent / "little", recipe, "--output", tmp_path / "again")
    assert "resuming it would repeat nothing" in str(twice.exception)
    other = invoke("eval", "reproduce", recipe.parent / "little-6", recipe, "--limit", 6)
    assert other.return_value == 0 and "every figure is the same" in other.output


def test_a_recipe_with_a_typo_is_one_sentence(tmp_path):
    from rag_ft.errors import EvaluationError

    (tmp_path / "odd.toml").write_text(RECIPE.replace("title", "titel"))
    done = invoke("eval", tmp_path / "odd.toml")
    assert isinstance(done.exception, EvaluationError)
    assert "odd.toml: title: Field required" in str(done.exception) and "\n" not in str(done.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only-feedback",), "give it with --feedback INDEX"),
        (("--only-feedback", "--feedback", "x", "--questions", "y"), "drop it, or --questions"),
    ],
)
def test_feedback_alone_needs_an_index_and_no_questions(tmp_path, options, message):
    (tmp_path / "little.toml").write_text(RECIPE)
    done = invoke("eval", tmp_path / "little.toml", *options)
    assert isinstance(done.exception, UsageError) and message in str(done.exception)
    assert list(tmp_path.iterdir()) == [tmp_path / "little.toml"]


def test_options_replace_what_the_recipe_asks(tmp_path):
    (tmp_path / "little.toml").write_text(RECIPE)
    path = tmp_path / "little.toml"
    both = _recipe(path, None, None, tmp_path / "index", False)
    assert both.questions.endswith("qa.jsonl") and both.feedback == str(tmp_path / "index")
    assert _recipe(path, None, None, tmp_path / "index", True).questions == ""
