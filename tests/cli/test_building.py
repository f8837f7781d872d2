"""Options that several commands share, described once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from rag_ft.cli import app
from rag_ft.cli.building import BuildOptions, PlacedBuildOptions, ReadOptions
from rag_ft.cli.options import EngineChoice, source_place
from rag_ft.errors import UsageError


def options(*path: str) -> set[str]:
    command = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return {parameter.name for parameter in command.params}


def test_commands_that_build_have_the_same_options():
    names = {field.name for field in fields(BuildOptions)}
    placed = {"engine", "address", "workers", "worker_gpus"}
    assert options("index", "build") - names == {"source", "index", "as_json", *placed}
    assert options("index", "watch") - names == {"folder", "index", "as_json", "poll"}
    assert names <= options("index", "build") & options("index", "watch")
    assert {field.name for field in fields(ReadOptions)} <= options("index", "add")


def test_what_is_not_given_is_the_default():
    limits = ReadOptions(read_seconds=5.0, read_memory=300).limits()
    assert (limits.seconds, limits.memory_bytes) == (5.0, 300_000_000)
    assert limits.max_chars == ReadOptions().limits().max_chars
    assert BuildOptions().chunking().max_tokens == 96


def test_a_source_is_a_path_or_an_address_as_it_was_given():
    assert source_place("s3://bucket/docs") == "s3://bucket/docs" and source_place("docs/") == Path("docs")


@pytest.mark.parametrize("given", [{"address": "host:1"}, {"workers": 2}, {"worker_gpus": 0.5}])
def test_what_is_for_a_cluster_needs_one(given):
    with pytest.raises(UsageError, match=r"^--\S+ is for --engine ray: add that"):
        PlacedBuildOptions(**given).check()
    PlacedBuildOptions(engine=EngineChoice.ray, **given).check()


def test_a_wrong_value_names_its_option():
    with pytest.raises(UsageError, match="--max-tokens is 2: "):
        BuildOptions(max_tokens=2).chunking()
    with pytest.raises(UsageError, match="seconds is 0"):
        ReadOptions(read_seconds=0).limits()
