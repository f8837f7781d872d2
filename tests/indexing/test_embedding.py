from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import HashingEmbedder
from huggingface_hub.errors import LocalEntryNotFoundError

from rag_ft import environment
from rag_ft.errors import PromptTooLongError, UsageError, WeightsError
from rag_ft.indexing import embedding
from rag_ft.indexing.embedding import Embedder, SentenceEmbedder, check_question, load_embedder, load_named_embedder
from rag_ft.models.weights import resolve_embedder

TEXTS = [
    "LoRA\nRank 16 adds 131,072 parameters to a layer of 4096 by 4096.",
    "Short.",
    "The guard locks the server room at night. " * 12,
    "Coffee for guests is ordered a day before.",
    "Ein Absatz mit Umlauten: äöü, naïve cafés, 日本語.",
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder(backend="torch")


def test_the_test_double_keeps_the_contract():
    assert isinstance(HashingEmbedder(), Embedder)


@pytest.mark.parametrize(("question", "message"), [("", "is empty"), ("  \n", "is empty"), ("\udfff", "surrogate")])
def test_a_question_that_cannot_be_embedded_is_a_usage_error(question, message):
    with pytest.raises(UsageError, match=message):
        check_question(question)


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


@pytest.mark.slow
def test_vectors_are_those_of_sentence_transformers(embedder):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(resolve_embedder().path), local_files_only=True)
    vectors = embedder.encode_passages(TEXTS)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, plain.encode(TEXTS, normalize_embeddings=True), atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


@pytest.mark.slow
def test_batches_do_not_change_vectors(embedder):
    together = embedder.encode_passages(TEXTS * 30)
    alone = np.concatenate([embedder.encode_passages([text]) for text in TEXTS])
    assert np.abs(together - np.tile(alone, (30, 1))).max() < 1e-6
    assert np.abs(embedder.encode_query(TEXTS[:2]) - alone[:2]).max() < 1e-6


@pytest.mark.slow
def test_no_texts_give_no_vectors(embedder):
    assert embedder.encode_passages([]).shape == (0, 384)
    assert embedder.encode_query([]).shape == (0, 384)


@pytest.mark.slow
def test_tokens_are_counted_without_special_tokens_and_without_a_limit(embedder):
    assert embedder.count_tokens("") == 0
    assert embedder.count_tokens("hello world") == 2
    assert embedder.count_tokens("hello " * 3000) == 3000


@pytest.mark.slow
def test_the_window_is_used_to_its_last_token_and_no_further(embedder):
    assert embedder.encode_passages(["hello " * 254]).shape == (1, 384)
    with pytest.raises(UsageError, match=r"has 255 tokens, but the embedder .* reads at most 254: build with smaller"):
        embedder.encode_passages(["fine", "hello " * 255])


@pytest.mark.slow
def test_a_question_of_100_000_characters_is_one_clear_error(embedder):
    with pytest.raises(PromptTooLongError, match=r"the question has 20,000 tokens, .* at most 254: shorten it"):
        embedder.encode_query(["what " * 20_000])


@pytest.mark.slow
def test_threads_may_share_an_embedder(embedder):
    wanted = [embedder.encode_query([text]) for text in TEXTS[:2]]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: embedder.encode_query([TEXTS[number % 2]]), range(16)))
    for number, vectors in enumerate(found):
        assert np.allclose(vectors, wanted[number % 2], atol=1e-6)


@pytest.mark.slow
def test_another_window_is_another_fingerprint(embedder, tmp_path: Path):
    source = resolve_embedder()
    folder = tmp_path / "copy"
    shutil.copytree(source.path, folder)
    settings = json.loads((folder / "sentence_bert_config.json").read_text())
    (folder / "sentence_bert_config.json").write_text(json.dumps({**settings, "max_seq_length": 128}))
    weights = SimpleNamespace(name="copy", path=folder, fingerprint=source.fingerprint)
    assert SentenceEmbedder(weights).fingerprint != embedder.fingerprint
    assert SentenceEmbedder(weights).max_tokens == 126


@pytest.mark.slow
def test_a_folder_that_is_no_embedder_is_a_weights_error(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    weights = SimpleNamespace(name="x", path=tmp_path, fingerprint="0" * 64)
    with pytest.raises(WeightsError, match=r"modules\.json is not JSON"):
        SentenceEmbedder(weights)
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(WeightsError, match="cannot be loaded as a sentence-transformers model"):
        SentenceEmbedder(weights)
