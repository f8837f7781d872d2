"""The files of pinned versions and `pyproject.toml` say the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = {
    canonicalize_name(requirement.name): requirement
    for requirement in map(
        Requirement,
        [*PROJECT["dependencies"], *(line for lines in PROJECT["optional-dependencies"].values() for line in lines)],
    )
    if requirement.name != PROJECT["name"]
}


def pins(name: str) -> dict[str, list[Requirement]]:
    """The lines of a file by package; several where the version depends on Python."""
    pinned: dict[str, list[Requirement]] = {}
    for line in (FOLDER / name).read_text().splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            pinned.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pinned


def version(requirement: Requirement) -> Version:
    (pin,) = requirement.specifier
    assert pin.operator == "==", requirement
    return Version(pin.version)


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_the_lock_holds_every_dependency_within_its_bounds(name):
    for pin in pins("lock.txt")[name]:
        assert DIRECT[name].specifier.contains(version(pin)), pin


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_the_lowest_version_is_the_lower_bound(name):
    bounds = [bound for bound in DIRECT[name].specifier if bound.operator == ">="]
    assert len(bounds) == 1, f"{name} has no lower bound"
    if DIRECT[name].marker is None or DIRECT[name].marker.evaluate({"python_version": "3.11"}):
        (pin,) = pins("lowest.txt")[name]
        assert version(pin) == Version(bounds[0].version)


@pytest.mark.parametrize("name", ["lock.txt", "lowest.txt"])
def test_the_files_fit_any_machine(name):
    text = (FOLDER / name).read_text()
    assert not re.search(r"==\S*\+|https?:|file:|--", text), "a build of one machine, or a place to fetch from"
    assert "# Written by requirements/update.sh." in text
    for lines in pins(name).values():
        for pin in lines:
            version(pin)


def test_the_tests_that_are_run_with_the_lowest_versions_are_there():
    (listed,) = re.findall(r"^lowest=\(\n(.*?)^\)", (ROOT / ".ci" / "run").read_text(), re.DOTALL | re.MULTILINE)
    command = ["bash", "-c", f"printf '%s\\n' {' '.join(listed.split())}"]
    paths = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert paths and not [path for path in paths if not (ROOT / path).exists()]


def test_the_container_and_ci_install_what_is_pinned():
    assert "--constraint /src/requirements/lock.txt" in (ROOT / "Containerfile").read_text()
    run = (ROOT / ".ci" / "run").read_text()
    assert 'export PIP_CONSTRAINT="$PWD/requirements/lock.txt"' in run
    assert 'PIP_CONSTRAINT="$PWD/requirements/lowest.txt"' in run
