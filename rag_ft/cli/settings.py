"""Settings of the library from options, with errors that name the option."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import typer

from rag_ft.cli.options import ADAPTER_PANEL
from rag_ft.errors import UsageError

if TYPE_CHECKING:
    from rag_ft.training.lora import AdapterConfig

Settings = TypeVar("Settings")

RankOption: TypeAlias = Annotated[
    int, typer.Option(help="Rank of the adapter; usually 8 to 64.", rich_help_panel=ADAPTER_PANEL)
]
AlphaOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="The adapter's output is scaled by alpha/rank. Default: twice the rank.",
        show_default=False,
        rich_help_panel=ADAPTER_PANEL,
    ),
]
TargetsOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--target-modules",
        help="Projections to adapt, separated by commas. Default: all linear layers.",
        show_default=False,
        rich_help_panel=ADAPTER_PANEL,
    ),
]
RsloraOption: TypeAlias = Annotated[
    bool,
    typer.Option("--rslora", help="Scale by alpha/sqrt(rank) instead: for large ranks.", rich_help_panel=ADAPTER_PANEL),
]
DoraOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dora", help="DoRA: learn magnitude and direction separately; slower.", rich_help_panel=ADAPTER_PANEL
    ),
]


def adapter_config(rank: int, alpha: float | None, targets: str, **settings: Any) -> AdapterConfig:
    """An adapter's shape from its options. Raises UsageError."""
    from rag_ft.training.lora import AdapterConfig

    names = tuple(name.strip() for name in targets.split(",") if name.strip())
    return checked(AdapterConfig, rank=rank, alpha=alpha, target_modules=names, **settings)


def checked(kind: type[Settings], **values: Any) -> Settings:
    """A settings object of this class. Raises UsageError for a value out of range, naming its option."""
    from pydantic import ValidationError

    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{name} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
