import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import rag_ft

PACKAGE = Path(rag_ft.__file__).parent


def test_the_tree_of_errors_names_every_error():
    from rag_ft import errors

    defined = {name for name in vars(errors) if name.endswith("Error")}
    assert all(name in (errors.__doc__ or "") for name in defined)


def test_importing_the_package_or_the_command_line_loads_nothing_heavy():
    code = (
        "import sys, rag_ft, rag_ft.cli; "
        "print([m for m in ('torch', 'transformers', 'faiss', 'langchain_core', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


DOORS = (
    "rag_ft",
    *(
        f"rag_ft.{room}"
        for room in ("adapters", "adapting", "evaluation", "indexing", "models", "questions", "training")
    ),
)


@pytest.mark.parametrize("door", DOORS)
def test_the_names_of_every_door_resolve(door):
    room = importlib.import_module(door)
    assert room.__all__
    for name in room.__all__:
        assert getattr(room, name).__name__.rsplit(".", 1)[-1] == name


def test_the_root_has_about_ten_names_and_the_rooms():
    rooms = {"adapters", "errors", "evaluation", "indexing", "models", "questions", "training"}
    assert len(set(rag_ft.__all__) - rooms) == 13


def test_data_goes_one_way():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
