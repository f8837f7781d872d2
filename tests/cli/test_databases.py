"""Commands over an index in a database, called with its address instead of a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import run_main
from databases import DATABASES
from fakes import HashingEmbedder
from small_indexes import DOCUMENTS

import rag_ft.indexing.databases.index as databases
from rag_ft.indexing.building import sentinels


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of documents; the packaged embedder is a hashing one."""
    monkeypatch.setattr(databases, "load_embedder", lambda name: HashingEmbedder())
    monkeypatch.setattr(sentinels, "load_named_embedder", lambda name: HashingEmbedder())
    folder = tmp_path / "docs"
    folder.mkdir()
    for document in DOCUMENTS:
        (folder / document.id).write_text(document.text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", DATABASES)
def test_the_commands_take_an_address(
    kind: str, documents: Path, new_address: Callable[[str], str], tiny_llama_dir: Path
) -> None:
    address = new_address(kind)
    built = run_main("index", "build", documents, address)
    assert built.returncode == 0, built.stderr
    assert "6 documents" in built.stdout and "6 added" in built.stdout
    assert run_main("index", "build", documents, address).stdout.count("6 unchanged") == 1
    info = json.loads(run_main("index", "info", address, "--json", "--documents").stdout)
    assert info["documents"] == [document.id for document in DOCUMENTS] and info["kind"] == "flat"
    (documents / "more.md").write_text("Umbrellas are lent at the desk.", encoding="utf-8")
    assert "1 added" in run_main("index", "add", documents / "more.md", address).stdout
    dry = run_main("index", "remove", address, "b.md", "--dry-run")
    assert "b.md would be removed" in dry.stdout and dry.returncode == 0
    assert "b.md removed" in run_main("index", "remove", address, "b.md").stdout
    proof = run_main("index", "verify", address, "--absent", documents / "b.md")
    assert proof.returncode == 0, proof.stdout
    options = ["--reader", tiny_llama_dir, "--threshold", "0", "--retrieval", "blend", "--json"]
    asked = run_main("ask", "Where are umbrellas lent?", "--index", address, *options)
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert answer["passages"][0]["passage"]["document_id"] == "more.md"
    assert answer["provenance"]["index"] and "postgres:@" not in answer["provenance"]["index_path"]


def test_what_needs_a_folder_says_so(documents: Path, tmp_path: Path) -> None:
    address = f"lancedb:{tmp_path / 'lance'}"
    watched = run_main("index", "watch", documents, address)
    assert watched.returncode == 2 and "watching keeps an index folder up to date" in watched.stderr
    served = run_main("serve", "--index", address, "--watch", documents)
    assert served.returncode == 2 and "watching keeps an index folder up to date" in served.stderr
    kept = run_main("index", "build", documents, address, "--keep-originals")
    assert kept.returncode == 2 and "keeps no files" in kept.stderr
    assert run_main("index", "build", documents, address, "--kind", "ivf-pq").returncode == 2
    missing = run_main("index", "info", address)
    assert missing.returncode == 1 and "there is no index at lancedb:" in missing.stderr
    assert not (tmp_path / "lance").exists()


def test_a_password_is_in_no_output(documents: Path) -> None:
    for command in (["index", "info"], ["index", "build", documents]):
        failed = run_main(*command, "postgresql://user:s3cret@127.0.0.1:1/db", "--json")
        assert failed.returncode == 1 and "check the address" in failed.stderr
        assert "s3cret" not in failed.stdout + failed.stderr
