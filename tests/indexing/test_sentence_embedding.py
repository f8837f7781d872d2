from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rag_ft.errors import PromptTooLongError, UsageError, WeightsError
from rag_ft.indexing.embedding import Embedder, load_embedder
from rag_ft.indexing.sentence_embedding import SentenceEmbedder
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
