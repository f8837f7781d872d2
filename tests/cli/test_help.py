from itertools import groupby, pairwise

import pytest
import typer.main
from typer.testing import CliRunner

from rag_ft.cli import app
from rag_ft.cli.help import PANELS, unwrapped


def paths(command, path=()):
    """Names that lead to a command and to all commands inside it."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))


COMMANDS = list(paths(typer.main.get_command(app)))


def help_lines(path, width) -> list[str]:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": str(width)})
    assert shown.exit_code == 0, shown.output
    return [line.rstrip() for line in shown.output.splitlines()]


def ragged(lines: list[str], width: int) -> list[str]:
    """Lines of paragraphs that end although the next word had room: not of usage, panels and lists of examples."""
    early = []
    for filled, group in groupby(lines, key=bool):
        block = list(group)
        if not filled or block[0].startswith((" Usage:", "╭")) or block[0].endswith(":"):
            continue
        for line, following in pairwise(block):
            if len(f"{line} {following.split()[0]}") < width:
                early.append(line)
    return early


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_line_of_a_help_text_ends_early_and_none_is_too_long(path, width):
    lines = help_lines(path, width)
    assert ragged(lines, width) == []
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("path", COMMANDS[1:], ids=" ".join)
def test_no_option_is_cropped_in_a_narrow_terminal(path):
    assert [line for line in help_lines(path, 60) if "…" in line] == []


def test_a_ragged_text_is_noticed():
    lines = [" Usage: x", "", " This line has ended", " early in a wide terminal."]
    assert ragged(lines, 80) == [lines[2]] and ragged(lines, 25) == []


def test_paragraphs_are_joined_and_lists_are_kept():
    text = """First
    line.

    Examples:
    rag-ft one
    rag-ft two
    """
    assert unwrapped(text) == "First line.\n\nExamples:\nrag-ft one\nrag-ft two"


def test_commands_and_the_many_options_of_a_command_stand_in_panels():
    titles = [line.split()[1] for line in help_lines([], 80) if line.startswith("╭")]
    assert titles == ["Options", *PANELS]
    panels = {
        "train": ["Arguments", "Options", "Data", "Adapter", "Training", "Output", "Checking"],
        "ask": ["Arguments", "Options", "Passages", "Reader", "Many"],
        "serve": ["Options", "Passages", "Reader", "Access", "Limits"],
    }
    for command, names in panels.items():
        titles = [line.split()[1] for line in help_lines([command], 80) if line.startswith("╭")]
        assert titles == names
