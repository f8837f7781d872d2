from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import HashingEmbedder
from huggingface_hub.errors import LocalEntryNotFoundError

from rag_ft import environment
from rag_ft.errors import WeightsError
from rag_ft.indexing import embedding
from rag_ft.indexing.embedding import Embedder, load_embedder, load_named_embedder
from rag_ft.models.weights import resolve_embedder


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder(backend="torch")


def test_the_test_double_keeps_the_contract():
    assert isinstance(HashingEmbedder(), Embedder)


STRANGE = ("organisation/model", "/etc", "../embedder", "embedder", "\\\\host\\share", "~/embedder", "default", "")


@pytest.fixture
def loading(monkeypatch):
    """What is looked up, with or without the hub, instead of loading it."""
    asked: list[tuple[str, bool]] = []

    def resolve(name="default", *, fetch=True):
        asked.append((name, fetch))
        return SimpleNamespace(name=name)

    monkeypatch.setattr("rag_ft.models.weights.resolve_embedder", resolve)
    monkeypatch.setattr(embedding, "_run_by", lambda weights, name, *settings: SimpleNamespace(name=name))
    return asked


@pytest.mark.parametrize("name", STRANGE)
def test_what_an_index_names_is_not_looked_up_by_its_word_alone(loading, tmp_path, monkeypatch, name):
    (tmp_path / "embedder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="have not loaded this embedder before"):
        load_named_embedder(name)
    assert loading == []


def test_an_embedder_that_the_user_has_given_once_is_loaded_by_its_name_and_not_fetched(loading, tmp_path):
    (tmp_path / "mine").mkdir()
    given = load_embedder(str(tmp_path / "mine")).name
    load_embedder("organisation/model")
    assert given == str(tmp_path / "mine")
    assert loading == [(given, True), ("organisation/model", True)]
    assert load_named_embedder(given).name == given
    assert load_named_embedder("organisation/model").name == "organisation/model"
    assert loading[2:] == [(given, False), ("organisation/model", False)]


def test_the_packaged_embedder_needs_no_memory_and_is_no_folder_of_its_name(loading, tmp_path, monkeypatch):
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_named_embedder("all-MiniLM-L6-v2").name == "all-MiniLM-L6-v2"
    assert loading == [("default", True)]


@pytest.mark.parametrize("content", ["", "{", '{"organisation/model": 1}', "[[1]]", "[" * 100_000])
def test_a_damaged_memory_remembers_nothing_and_is_written_again(loading, content):
    memory = environment.home() / "embedders.json"
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(content)
    with pytest.raises(WeightsError):
        load_named_embedder("organisation/model")
    load_embedder("organisation/model")
    assert load_named_embedder("organisation/model").name == "organisation/model"


def test_a_home_that_cannot_be_written_remembers_nothing_and_stops_nothing(loading, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path / "file" / "home"))
    assert load_embedder("organisation/model").name == "organisation/model"
    with pytest.raises(WeightsError):
        load_named_embedder("organisation/model")


def test_a_remembered_hub_id_is_asked_of_the_hubs_cache_alone(monkeypatch):
    asked = {}

    def download(name, **options):
        asked.update(options)
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(WeightsError, match="not in the hub's cache"):
        resolve_embedder("organisation/model", fetch=False)
    assert asked["local_files_only"] is True


@pytest.mark.slow
def test_the_default_embedder_says_what_it_is(embedder):
    assert isinstance(embedder, Embedder)
    assert embedder.dimension == 384
    assert embedder.max_tokens == 254  # 256 with [CLS] and [SEP]
    assert len(embedder.fingerprint) == 64
    assert embedder.fingerprint == load_embedder().fingerprint
    assert embedder.name == "all-MiniLM-L6-v2"
    assert load_embedder(embedder.name).fingerprint == embedder.fingerprint


@pytest.mark.slow
def test_a_folder_is_named_so_that_it_is_found_from_anywhere(embedder, tmp_path: Path, monkeypatch):
    shutil.copytree(resolve_embedder().path, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    found = load_embedder("mine")
    assert found.name == str(tmp_path / "mine")
    assert found.fingerprint == embedder.fingerprint
