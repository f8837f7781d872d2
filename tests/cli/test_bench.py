from __future__ import annotations

import json

from tiny_embedder import write_tiny_sentence_embedder
from typer.testing import CliRunner

from rag_ft.cli import app


def test_without_a_reader_none_is_loaded_and_the_command_prints_json(tmp_path):
    embedder = str(write_tiny_sentence_embedder(tmp_path))
    shown = CliRunner().invoke(
        app, ["bench", "--json", "--no-reading", "--embedder", embedder, "--passages", "2", "--rounds", "1"]
    )
    assert shown.exit_code == 0, shown.output
    measured = json.loads(shown.stdout)
    assert measured["reading"] == "" and len(measured["rows"]) == 5
    assert measured["rows"][0]["ratio"] > 0
