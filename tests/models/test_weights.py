import json
import shutil
from pathlib import Path

import pytest

from rag_ft import environment
from rag_ft.errors import WeightsError
from rag_ft.models import gguf
from rag_ft.models.defaults import READER_GGUF_SHA256
from rag_ft.models.weights import (
    known_weights,
    resolve_adapter,
    resolve_embedder,
    resolve_reader,
    tensor_shapes,
)


def fails(call, *says):
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message
    return message


@pytest.fixture
def folder(tiny_llama_dir, tmp_path):
    return Path(shutil.copytree(tiny_llama_dir, tmp_path / "model"))


def test_a_local_folder_resolves_and_any_change_changes_its_fingerprint(folder):
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Card\n")
    weights = resolve_reader(str(folder))
    assert (weights.path, weights.licence, weights.name) == (folder, "MIT", "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\nanother text")
    assert resolve_reader(str(folder)).fingerprint == weights.fingerprint
    with (folder / "chat_template.jinja").open("a") as file:
        file.write(" ")
    assert resolve_reader(str(folder)).fingerprint != weights.fingerprint


def test_what_cannot_be_loaded_safely_is_refused(folder, tmp_path):
    def copy(name):
        return Path(shutil.copytree(folder, tmp_path / name))

    code = copy("code")
    config = json.loads((code / "config.json").read_text())
    (code / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.Y"}}))
    fails(lambda: resolve_reader(str(code)), "auto_map", "never run")
    pickled = copy("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    fails(lambda: resolve_reader(str(pickled)), "pytorch_model.bin", "safetensors")
    cut = copy("cut")
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[:-10])
    fails(lambda: resolve_reader(str(cut)), "model.safetensors is cut off", "fetch it again")
    tokenless = copy("tokenless")
    (tokenless / "tokenizer.json").unlink()
    fails(lambda: resolve_reader(str(tokenless)), "tokenizer.json")
    fails(lambda: resolve_embedder(str(folder)), "modules.json")
    fails(lambda: resolve_adapter(folder), "is not an adapter")
    (tmp_path / "empty").mkdir()
    fails(lambda: resolve_reader(str(tmp_path / "empty")), "config.json")
    (tmp_path / "file.bin").write_bytes(b"x")
    fails(lambda: resolve_reader(str(tmp_path / "file.bin")), "is a file")
    fails(lambda: resolve_reader("no/such/path/here"), "there is no model at")


TENSOR = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


def safetensors_file(path, header, data=b"", length=None):
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)
    return path


def test_shapes_come_from_the_header(tmp_path):
    assert tensor_shapes(safetensors_file(tmp_path / "w", TENSOR, b"\0" * 4)) == {"x": (1,)}


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        (b"", b"", 0),
        (TENSOR, b"\0" * 3, None),
        (TENSOR, b"\0" * 5, None),
        (TENSOR, b"\0" * 4, 5000),
        (TENSOR, b"\0" * 4, 2**63),
        (b"[]", b"", None),
        (b"{}", b"", None),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"", None),
        (TENSOR.replace(b"[1]", b"[2]"), b"\0" * 4, None),
        (TENSOR.replace(b"[1]", b"[-1]"), b"\0" * 4, None),
        (TENSOR.replace(b"[1]", b"[" + b"9" * 5000 + b"]"), b"\0" * 4, None),
        (TENSOR.replace(b"[0,4]", b"[4,0]"), b"\0" * 4, None),
        (TENSOR.replace(b"[0,4]", b'["0","4"]'), b"\0" * 4, None),
        (TENSOR.replace(b"F32", b"Z9"), b"\0" * 4, None),
        (TENSOR.replace(b"x", b"\xff"), b"\0" * 4, None),
    ],
)
def test_a_header_that_lies_is_one_sentence(tmp_path, header, data, length):
    path = safetensors_file(tmp_path / "w.safetensors", header, data, length)
    fails(lambda: tensor_shapes(path), "w.safetensors", "fetch it again")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n# Card\n", "MIT"),
        ('---\ntags: [a]\nlicense: "cc-by-sa-4.0"\n---\n', "CC-BY-SA-4.0"),
        ("---\nlicense: llama3\n---\n", "llama3"),
        ("---\nlicense: [mit]\n---\n", "unknown: see the model card"),
        ("---\nlicense: no\n---\n", "unknown: see the model card"),
        ("---\nlicense: a: b\n---\n", "unknown: see the model card"),
        ("---\nlicense: !!timestamp x\n---\n", "unknown: see the model card"),
        ("---\n- license\n---\n", "unknown: see the model card"),
        ("# Card\nlicense: mit\n", "unknown: see the model card"),
        (None, "unknown: see the model card"),
    ],
)
def test_the_licence_is_the_one_that_the_card_names(folder, card, licence):
    (folder / "README.md").unlink(missing_ok=True)
    if card is not None:
        (folder / "README.md").write_text(card)
    assert resolve_reader(str(folder)).licence == licence


def test_a_card_that_is_not_text_and_a_record_nested_without_end_do_not_matter(folder):
    (folder / "README.md").write_bytes(b"\xff\xfe")
    (folder / "rag_ft.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    assert resolve_reader(str(folder)).licence == "unknown: see the model card"


def test_a_hub_id_offline_says_what_to_do(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    fails(lambda: resolve_reader("organisation/model"), "not in the hub's cache", "HF_HUB_OFFLINE")


def test_a_full_disk_is_one_sentence_by_a_false_disk_usage(monkeypatch):
    monkeypatch.setattr("rag_ft.models.gguf.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    fails(lambda: resolve_reader(progress=False), "its disk has 0 MB", "RAG_FT_HOME")


def test_a_home_that_cannot_be_written_is_one_sentence(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path / "file" / "home"))
    fails(lambda: resolve_reader(progress=False), "RAG_FT_HOME")


def test_known_weights_fetch_nothing(monkeypatch):
    monkeypatch.setattr("rag_ft.models.defaults.subprocess.run", None)
    embedder, reader, adapter, _, cross_encoder = known_weights()
    assert embedder.path is not None and reader.path is None
    assert reader.sha256 == READER_GGUF_SHA256
    assert (adapter.name, adapter.kind, cross_encoder.name) == ("packaged", "adapter", "packaged")
    assert cross_encoder.kind == "cross-encoder" and cross_encoder.licence == "CC-BY-SA-4.0"


@pytest.mark.slow
def test_the_default_reader_is_here_and_whole():
    weights = resolve_reader()
    assert weights.licence == "Apache-2.0"
    assert gguf.find_damage(weights.path, fresh=True) is None
    assert environment.home() in weights.path.parents
