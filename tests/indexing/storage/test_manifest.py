from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from attacks import attack

from rag_ft.errors import IndexCorruptError, IndexFormatError
from rag_ft.indexing.storage.folder import FORMAT, content_checksum
from rag_ft.indexing.storage.store import IndexStore

attacks = attack("index")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return attacks.build(tmp_path_factory.mktemp("sound") / "index", 3, kind="hnsw").path


@pytest.fixture
def manifest(sound) -> dict[str, Any]:
    return json.loads((sound / "manifest.json").read_bytes())


def read(tmp_path: Path, content: dict[str, Any]) -> object:
    """A manifest whose checksum has been mended."""
    content["checksum"] = content_checksum(content)
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    return IndexStore(tmp_path).read_manifest()


def test_an_unchanged_manifest_is_read(tmp_path, manifest):
    read(tmp_path, manifest)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", -3),
        ("format", 0),
        ("format", "2"),
        ("format", True),
        ("format", 2.0),
        ("format", None),
        ("generation", "../../data"),
        ("generation", "/etc"),
        ("generation", ""),
        ("generation", "0123456789ABCDEF"),
        ("created", "yesterday"),
        ("fingerprint", "z" * 64),
        ("fingerprint", "a" * 63),
        ("embedder.dimension", 0),
        ("embedder.dimension", "64"),
        ("embedder.max_tokens", 8),
        ("embedder.name", "\ud800"),
        ("metric", "l2"),
        ("chunking.max_tokens", 1),
        ("chunking.max_tokens", "24"),
        ("chunking.rules", 0),
        ("chunking.more", 1),
        ("kind", "lsh"),
        ("kind_choice", "flat"),
        ("search_effort", -1),
        ("search_effort", 0),
        ("search_effort", 10**9),
        ("search_effort", True),
        ("recall_at_10", 1.5),
        ("recall_at_10", -0.1),
        ("recall_at_10", float("nan")),
        ("counts.documents", -1),
        ("counts.passages", 2.5),
        ("versions", []),
        ("versions", {"numpy": "\ud800"}),
        ("files", {}),
        ("files", []),
        ("files.../../x", {"size": 1, "sha256": "a" * 64}),
        ("files./etc/passwd", {"size": 1, "sha256": "a" * 64}),
        ("files.C:\\x", {"size": 1, "sha256": "a" * 64}),
        ("files.vectors;npy", {"size": 1, "sha256": "a" * 64}),
        ("files.keys;npy", None),
        ("files.keys;npy", {"size": -1, "sha256": "a" * 64}),
        ("files.keys;npy", {"size": 1, "sha256": "A" * 64}),
        ("more", 1),
    ],
)
def test_a_manifest_is_not_believed_for_its_checksum_and_the_field_is_named(tmp_path, manifest, field, value):
    name, dot, key = field.partition(".")
    if dot:
        manifest[name][key.replace(";", ".")] = value
    else:
        manifest[name] = value
    with pytest.raises(IndexCorruptError, match=rf"manifest.json is not what an index writes \(.*{name}"):
        read(tmp_path, manifest)


def test_every_field_is_missed(tmp_path, manifest):
    for name in [name for name in manifest if name not in ("checksum", "metric", "recall_when_built")]:
        with pytest.raises(IndexCorruptError, match=name):
            read(tmp_path, {key: value for key, value in manifest.items() if key != name})
    for name in manifest["files"]:
        files = {key: value for key, value in manifest["files"].items() if key != name}
        with pytest.raises(IndexCorruptError, match="files is not the list of an index's files"):
            read(tmp_path, manifest | {"files": files})


def test_a_newer_format_is_called_newer_whatever_its_checksum(tmp_path, manifest):
    with pytest.raises(IndexFormatError, match="of a newer rag_ft"):
        read(tmp_path, manifest | {"format": FORMAT + 1})
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format": FORMAT + 1, "checksum": "?"}))
    with pytest.raises(IndexFormatError, match="of a newer rag_ft"):
        IndexStore(tmp_path).read_manifest()


@pytest.mark.parametrize("content", [b"[" * 90_000, b"9" * 5000, b"\xff", b" " * 2_000_000, b'{"format": 1e999}'])
def test_bytes_that_are_no_manifest_are_an_error_that_names_it(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(IndexCorruptError, match=r"manifest.json .*build the index again"):
        IndexStore(tmp_path).read_manifest()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "ivf-pq", "kind_choice": "auto"}, "files is not the list"),
        ({"kind": "flat", "search_effort": 0, "kind_choice": "flat"}, "another 'kind'"),
        ({"counts": {"documents": 4, "passages": 12}}, "do not belong together|another 'counts.documents'"),
        ({"counts": {"documents": 3, "passages": 3}}, "do not belong together"),
        ({"fingerprint": "0" * 64}, "another 'fingerprint'"),
        ({"chunking": {"max_tokens": 25, "rules": 2}}, "another 'fingerprint'"),
    ],
)
def test_what_a_manifest_says_of_the_files_is_compared_with_them(sound, manifest, change, says, tmp_path):
    shutil.copytree(sound, tmp_path / "index")
    manifest.update(change)
    manifest["checksum"] = content_checksum(manifest)
    (tmp_path / "index" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexCorruptError, match=says):
        attacks.load(tmp_path / "index", "none")


def test_some_mended_mutations_raise_one_class_of_error_and_touch_nothing_outside(tmp_path):
    for tally in attacks.attack_mutations(tmp_path, random.Random(5), 8):
        assert tally.failures == [] and tally.tried
