import re
from pathlib import Path

import pytest

import rag_ft

PACKAGE = Path(rag_ft.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"


@pytest.fixture(scope="module")
def named():
    return set(re.findall(r"`(rag_ft/[\w/.]*)`", PAGE.read_text(encoding="utf-8")))


def test_every_file_and_folder_that_the_page_names_is_there(named):
    assert named and not [name for name in named if not (PACKAGE.parent / name).exists()]


def test_the_page_names_every_room(named):
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert not {room for room in rooms if f"rag_ft/{room}/" not in named}
    assert not {file for file in files if f"rag_ft/{file}" not in named}


def test_the_first_file_of_every_room_is_there():
    for room, first in re.findall(r"\| `(rag_ft/\w+/)` \|.*\| `([\w.]+)` \|", PAGE.read_text(encoding="utf-8")):
        assert (PACKAGE.parent / room / first).is_file(), (room, first)
