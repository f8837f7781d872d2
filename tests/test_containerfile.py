"""The container file as far as it can be checked without building it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.main import get_command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
LINES = re.sub(r"\\\n\s*", "", (ROOT / "Containerfile").read_text()).splitlines()


def said(word: str) -> list[str]:
    return [line.removeprefix(word).strip() for line in LINES if line.startswith(word + " ")]


def test_all_that_is_copied_is_there_and_in_the_repository():
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for line in said("COPY"):
        for source in shlex.split(line)[:-1]:
            assert any(name == source or name.startswith(source + "/") for name in kept), source


def test_what_the_package_needs_to_be_built_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copied = {source for line in said("COPY") for source in shlex.split(line)[:-1]}
    assert {"pyproject.toml", "rag_ft", project["readme"]} <= copied
    (installed,) = [line for line in said("RUN") if line.startswith("pip install")]
    extras = re.search(r"/src\[(.+)\]", installed).group(1).split(",")
    assert set(extras) <= set(project["optional-dependencies"])


def test_the_command_has_options_that_there_are_and_needs_a_token():
    from rag_ft.cli import app
    from rag_ft.serving.config import ServeConfig

    (line,) = said("CMD")
    program, command, *arguments = json.loads(line)
    assert program == "rag-ft"
    options = {name for one in get_command(app).commands[command].params for name in one.opts}
    given = [one for one in arguments if one.startswith("--")]
    assert given and set(given) <= options
    host = arguments[arguments.index("--host") + 1]
    with pytest.raises(ValidationError, match="a token is required"):
        ServeConfig(host=host)


def test_the_lines_of_python_in_it_are_python():
    for line in [*said("RUN"), *said("HEALTHCHECK CMD")]:
        for code in re.findall(r'python -c "([^"]+)"', line):
            compile(code, "Containerfile", "exec")
            for module in re.findall(r"from (rag_ft\S*) import (\w+)", code):
                subprocess.run([sys.executable, "-c", f"from {module[0]} import {module[1]}"], check=True)
