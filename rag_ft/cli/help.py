"""How `--help` reads: the order of the panels, and paragraphs that wrap at the terminal's width."""

from __future__ import annotations

import inspect

import typer
from typer.core import TyperGroup

PANELS = ("Build", "Ask", "Train", "Judge", "Serve")
"""Panels of `rag-ft --help`, in the order of a project."""


class PanelGroup(TyperGroup):
    """Lists commands panel by panel; typer would list groups of commands after all single commands."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names of the commands, in the order in which the help shows them."""
        panels = {name: getattr(command, "rich_help_panel", None) for name, command in self.commands.items()}
        return sorted(panels, key=lambda name: PANELS.index(panels[name]) if panels[name] in PANELS else len(PANELS))


def unwrap_help(app: typer.Typer) -> None:
    """Give every command of an app, and of the apps inside it, its docstring with paragraphs of one line each.

    typer keeps the line breaks of a docstring from the second paragraph on: in a narrow terminal every other line would
    be a short one.
    """
    for command in app.registered_commands:
        command.help = unwrapped(command.help or inspect.getdoc(command.callback) or "")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            unwrap_help(group.typer_instance)


def unwrapped(text: str) -> str:
    """The text with the lines of each paragraph joined, but for lists: paragraphs whose first line ends with `:`."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.partition("\n")[0].endswith(":") else " ".join(paragraph.split("\n"))
        for paragraph in paragraphs
    )
