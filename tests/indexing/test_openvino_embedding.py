from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_indexes import DOCUMENTS
from tiny_embedder import write_tiny_sentence_embedder

from rag_ft.errors import IndexMismatchError, WeightsError
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.index import Index
from rag_ft.indexing.openvino_embedding import OpenVinoEmbedder, convert, load_openvino_embedder
from rag_ft.indexing.sentence_embedding import SentenceEmbedder
from rag_ft.models.embedding_backend import embedding_plan
from rag_ft.models.openvino_encoder import read_encoder
from rag_ft.models.weights import resolve_embedder

pytest.importorskip("openvino")

TEXTS = ["A", "Short.", "The guard locks the server room at night. " * 8, "Äußerst naïve cafés.", "b " * 100]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return resolve_embedder(str(write_tiny_sentence_embedder(tmp_path_factory.mktemp("tiny"))))


@pytest.fixture(scope="module")
def torchs(weights):
    return SentenceEmbedder(weights, name="tiny", device="cpu")


@pytest.fixture(scope="module")
def plan():
    return embedding_plan("openvino").with_dtype("float32")


@pytest.fixture(scope="module")
def openvinos(tmp_path_factory, torchs, plan):
    folder = tmp_path_factory.mktemp("encoders") / "tiny"
    return OpenVinoEmbedder("tiny", folder, convert(folder, torchs, plan), plan)


def test_vectors_are_torchs_with_the_prompts_of_questions_and_passages(torchs, openvinos):
    for encode in ("encode_query", "encode_passages"):
        assert getattr(openvinos, encode)(TEXTS) == pytest.approx(getattr(torchs, encode)(TEXTS), abs=1e-5)
    assert np.abs(torchs.encode_query(TEXTS) - torchs.encode_passages(TEXTS)).max() > 0.01
    assert openvinos.encode_query([]).shape == (0, 32)


def test_both_backends_are_the_same_embedder(torchs, openvinos):
    for name in ("name", "fingerprint", "dimension", "max_tokens"):
        assert getattr(openvinos, name) == getattr(torchs, name)
    assert openvinos.count_tokens(TEXTS[2]) == torchs.count_tokens(TEXTS[2])
    assert (openvinos.arithmetic, torchs.arithmetic) == ("openvino float32", "torch float32")


def test_an_index_of_one_backend_is_searched_and_added_to_with_the_other(torchs, openvinos, tmp_path):
    built = Index.build(DOCUMENTS, tmp_path / "index", embedder=openvinos)
    assert built.manifest.embedder.arithmetic == ["openvino float32"]
    by_torch = Index.load(tmp_path / "index", embedder=torchs)
    question = DOCUMENTS[0].text[:60]
    assert [hit.passage.id for hit in by_torch.search(question, mode="dense")] == [
        hit.passage.id for hit in built.search(question, mode="dense")
    ]
    by_torch.add([replace_text(DOCUMENTS[0])])
    assert by_torch.manifest.embedder.arithmetic == ["openvino float32", "torch float32"]
    again = Index.build(DOCUMENTS, tmp_path / "index", embedder=torchs)
    assert again.build_report.passages_embedded <= 1


def replace_text(document):
    return document.model_copy(update={"id": "added", "text": document.text + " And one sentence more."})


def test_sentinels_tolerate_the_rounding_of_float32_and_no_more(torchs, openvinos, tmp_path):
    Index.build(DOCUMENTS, tmp_path / "index", embedder=openvinos)

    class Moved:
        """The same embedder, its vectors turned by an angle that only bfloat16 would explain."""

        def __init__(self, arithmetic):
            self.arithmetic = arithmetic

        def __getattr__(self, name):
            return getattr(torchs, name)

        def encode_passages(self, texts):
            vectors = torchs.encode_passages(texts)
            aside = np.roll(vectors, 1, axis=1)
            aside -= (aside * vectors).sum(axis=1, keepdims=True) * vectors
            aside /= np.linalg.norm(aside, axis=1, keepdims=True)
            return 0.99985 * vectors + np.sqrt(1 - 0.99985**2).astype(np.float32) * aside

    Index.load(tmp_path / "index", embedder=Moved("openvino bfloat16"))
    with pytest.raises(IndexMismatchError, match="no longer gives the vectors"):
        Index.load(tmp_path / "index", embedder=Moved("torch float32"))


def test_a_conversion_is_kept_and_loads_without_sentence_transformers(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path))
    code = f"""
import sys
from rag_ft.indexing.embedding import load_embedder
embedder = load_embedder({str(weights.path)!r})
embedder.encode_query(["what?"])
print(type(embedder).__name__, "sentence_transformers" in sys.modules, embedder.fingerprint)
"""

    def run():
        """What a new process says: this one may have another setting from an earlier test."""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.split()

    converts = run()
    assert converts[:2] == ["OpenVinoEmbedder", "True"]
    assert run() == ["OpenVinoEmbedder", "False", converts[2]]
    assert len([*(tmp_path / "encoders").iterdir()]) == 1


def test_an_embedder_whose_vectors_would_change_is_run_by_torch_which_its_plan_says(tmp_path, plan, monkeypatch):
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path / "home"))
    weights = resolve_embedder(str(write_tiny_sentence_embedder(tmp_path, prompt_pooled=False)))
    embedder = load_openvino_embedder(weights, replace(plan, requested=False))
    assert isinstance(embedder, SentenceEmbedder)
    assert "its vectors in OpenVINO are others than in torch" in embedder.plan.reasons[0]
    with pytest.raises(WeightsError, match=r"does not run on OpenVINO: .* choose torch as the embedding backend"):
        load_openvino_embedder(weights, plan, required=True)


def test_where_the_home_cannot_be_written_torch_embeds_and_the_plan_says_so(weights, plan, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path / "file" / "home"))
    embedder = load_openvino_embedder(weights, plan)
    assert isinstance(embedder, SentenceEmbedder)
    assert "its conversion cannot be kept" in embedder.plan.reasons[0]


def test_bfloat16_that_moves_vectors_too_far_is_replaced_by_float32(weights, plan, tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path))
    monkeypatch.setattr("rag_ft.models.openvino_encoder.BFLOAT16_AGREEMENT", 1.1)
    embedder = load_openvino_embedder(weights, plan.with_dtype("bfloat16"))
    assert embedder.arithmetic == "openvino float32"
    assert "bfloat16 moves its vectors too far" in embedder.plan.reasons[-1]


@pytest.mark.slow
def test_the_default_embedder_gives_torchs_vectors_in_the_type_of_this_machine():
    ours, torchs = load_embedder(backend="openvino"), load_embedder(backend="torch", device="cpu")
    cosines = (ours.encode_passages(TEXTS) * torchs.encode_passages(TEXTS)).sum(axis=1)
    assert cosines.min() > (0.9998 if ours.plan.dtype == "bfloat16" else 0.99999)


def test_a_damaged_conversion_is_made_again(weights, plan, tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path))
    load_openvino_embedder(weights, plan)
    (folder,) = (tmp_path / "encoders").iterdir()
    (folder / "encoder.xml").write_text("")
    assert isinstance(load_openvino_embedder(weights, plan), OpenVinoEmbedder)
    assert read_encoder(folder) is not None
