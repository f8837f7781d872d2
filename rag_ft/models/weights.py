"""Where weights come from: `default`, a local folder or a hub id, resolved to a checked folder. No torch here.

Only safetensors (or a GGUF file, converted once) and never code: `folder.py` says what a folder may hold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from rag_ft.checksums import sha256_of
from rag_ft.environment import packaged_adapter_path, packaged_cross_encoder_path, packaged_generator_path
from rag_ft.errors import WeightsError, first_line
from rag_ft.models import defaults, gguf
from rag_ft.models.folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CROSS_ENCODER_FOLDER,
    CROSS_ENCODER_RECORD,
    CROSS_ENCODER_WEIGHTS,
    PICKLES,
    check_adapter_config,
    check_embedder_folder,
    check_model_folder,
)
from rag_ft.progress import ProgressBar

WeightsKind: TypeAlias = Literal["embedder", "reader", "adapter", "question generator", "cross-encoder"]

NO_ADAPTER = "none"
"""Names no adapter where the default would be the packaged one."""

PACKAGED = "packaged"
"""Names the packaged adapter, or the packaged cross-encoder."""

DEFAULT = "default"
"""Names the embedder and the reader that are used when none is given."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.md"]


@dataclass(frozen=True)
class Weights:
    """A folder of weights that may be loaded."""

    name: str
    """What a person would call it."""
    kind: WeightsKind
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
    kind: WeightsKind
    source: str
    licence: str
    size_bytes: int
    sha256: str
    """Checksum of one file: the reader's GGUF, of all others the safetensors."""
    path: Path | None
    """None where they have not been fetched yet."""


def resolve_embedder(name: str = DEFAULT, *, fetch: bool = True) -> Weights:
    """The embedder's folder; without `fetch` a hub id is only looked up in the hub's cache.

    Raises WeightsError where it is missing, altered or not a folder of sentence-transformers.
    """
    if name == DEFAULT:
        folder = defaults.embedder_folder()
        defaults.check_embedder(folder)
        source = f"package {defaults.EMBEDDER_REQUIREMENT}"
        return _weights(defaults.EMBEDDER_NAME, "embedder", folder, source, defaults.EMBEDDER_LICENCE)
    folder, source = _locate(name, fetch=fetch)
    _check_folder(folder, "embedder")
    return _weights(_last_part(name), "embedder", folder, source, _card_licence(folder))


def resolve_reader(name: str = DEFAULT, *, progress: bool = True) -> Weights:
    """The reader's folder; the default one, and any GGUF file, is fetched and converted on first use.

    `progress`: draw a bar if stderr is a terminal. Safe to call from several processes at once. Raises WeightsError.
    """
    if name == DEFAULT:
        with ProgressBar(progress) as bar:
            folder = gguf.convert_once(
                defaults.reader_folder(),
                name=defaults.READER_NAME,
                gguf_sha256=defaults.READER_GGUF_SHA256,
                obtain=defaults.fetch_reader,
                needed_bytes=defaults.READER_NEEDED_BYTES,
                licence=defaults.READER_LICENCE,
                on_progress=bar.update,
            )
        source = f"package {defaults.READER_REQUIREMENT}, converted"
        return _weights(defaults.READER_NAME, "reader", folder, source, defaults.READER_LICENCE)
    folder, source = _locate(name)
    gguf_file = _only_gguf(folder)
    if gguf_file is not None:
        return _converted_reader(gguf_file, progress)
    _check_folder(folder, "reader")
    return _weights(_last_part(name), "reader", folder, source, _card_licence(folder))


def resolve_encoder(name: str) -> Weights:
    """The folder of an encoder with a task head, by hub id or path: the checks of a reader. Raises WeightsError."""
    folder, source = _locate(name)
    _check_folder(folder, "reader")
    return _weights(_last_part(name), "reader", folder, source, _card_licence(folder))


def weights_identity(weights: Weights) -> str:
    """The checksum by which adapters know their base model: of a converted GGUF the GGUF's SHA-256, which does not
    change with the version of the library that converted it; else the fingerprint.
    """
    record = gguf.read_record(weights.path)
    return record.gguf_sha256 if record is not None else weights.fingerprint


def packaged_adapter() -> Path | None:
    """The packaged adapter's folder, for the default reader; None where the installation has none."""
    folder = packaged_adapter_path()
    return folder if (folder / ADAPTER_WEIGHTS).is_file() else None


def chosen_adapter(reader: str, adapter: str | Path | None) -> Path | None:
    """The adapter to use: the one given, no adapter for `none`, and without a choice the packaged one if the reader is
    the default one.
    """
    if adapter is None:
        return packaged_adapter() if reader == DEFAULT else None
    return None if str(adapter) == NO_ADAPTER else Path(adapter)


def resolve_adapter(path: str | Path) -> Weights:
    """A LoRA adapter's folder. Raises WeightsError where it is not one, or its weights are pickled."""
    folder = Path(path)
    for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / file).is_file():
            raise WeightsError(
                f"{folder} is not an adapter ({file} is missing): give a folder that PEFT wrote with safetensors"
            )
    check_adapter_config(folder / ADAPTER_CONFIG)
    tensor_shapes(folder / ADAPTER_WEIGHTS)
    return weights_in(folder, "adapter")


def weights_in(folder: Path, kind: WeightsKind) -> Weights:
    """A local folder whose files were checked already."""
    return _weights(folder.name, kind, folder, str(folder), _card_licence(folder))


def known_weights() -> list[KnownWeights]:
    """The packaged defaults and everything converted so far; fetches nothing."""
    embedder, reader = defaults.embedder_folder(), defaults.reader_folder()
    known = [
        KnownWeights(
            name=f"{DEFAULT} ({defaults.EMBEDDER_NAME})",
            kind="embedder",
            source=f"package {defaults.EMBEDDER_REQUIREMENT}",
            licence=defaults.EMBEDDER_LICENCE,
            size_bytes=_size(embedder),
            sha256=defaults.EMBEDDER_SHA256,
            path=embedder,
        ),
        KnownWeights(
            name=f"{DEFAULT} ({defaults.READER_NAME})",
            kind="reader",
            source=f"package {defaults.READER_REQUIREMENT}",
            licence=defaults.READER_LICENCE,
            size_bytes=_size(reader) if reader.is_dir() else defaults.READER_PACKAGE_BYTES,
            sha256=defaults.READER_GGUF_SHA256,
            path=reader if reader.is_dir() else None,
        ),
    ]
    adapter = packaged_adapter()
    if adapter is not None:
        known.append(_packaged("adapter", adapter, ADAPTER_WEIGHTS))
    known.append(_packaged("question generator", packaged_generator_path(), ADAPTER_WEIGHTS))
    known.append(_packaged("cross-encoder", packaged_cross_encoder_path(), CROSS_ENCODER_WEIGHTS))
    home = gguf.weights_home()
    for folder in sorted(home.iterdir()) if home.is_dir() else []:
        record = gguf.read_record(folder) if folder != reader else None
        if record is not None:
            known.append(
                KnownWeights(
                    name=record.name,
                    kind="reader",
                    source="GGUF, converted",
                    licence=record.licence,
                    size_bytes=_size(folder),
                    sha256=record.gguf_sha256,
                    path=folder,
                )
            )
    return known


def _packaged(kind: WeightsKind, folder: Path, file: str) -> KnownWeights:
    return KnownWeights(
        name=PACKAGED,
        kind=kind,
        source="package rag-ft",
        licence=_card_licence(folder),
        size_bytes=_size(folder),
        sha256=sha256_of(folder / file),
        path=folder,
    )


def _converted_reader(gguf_file: Path, progress: bool) -> Weights:
    digest = sha256_of(gguf_file)
    with ProgressBar(progress) as bar:
        folder = gguf.convert_once(
            gguf.folder_for(gguf_file.stem, digest),
            name=gguf_file.name,
            gguf_sha256=digest,
            obtain=lambda work, on_progress: gguf_file,
            # 4-bit values become 32-bit ones: eight times the size, and a little for the tokenizer.
            needed_bytes=gguf_file.stat().st_size * 8,
            on_progress=bar.update,
        )
    record = gguf.read_record(folder)
    licence = record.licence if record is not None else gguf.UNKNOWN_LICENCE
    return _weights(gguf_file.stem, "reader", folder, f"{gguf_file}, converted", licence)


def _locate(name: str, *, fetch: bool = True) -> tuple[Path, str]:
    """The local folder or GGUF file for a name, and where it came from."""
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
        raise WeightsError(
            f"{name} cannot be fetched from the hub ({first_line(error)}): try again, or give a local folder"
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


def _check_folder(folder: Path, kind: WeightsKind) -> None:
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
        tensor_shapes(path)


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor in a safetensors file, from its header alone. Raises WeightsError.

    The library's reader compares the header with the file's length, so a cut download is found before torch maps it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is cut off or not a safetensors file ({first_line(error)}): fetch it again"
        ) from error
    if not shapes:
        raise WeightsError(f"{path} holds no tensor: fetch it again")
    return shapes


def _weights(name: str, kind: WeightsKind, folder: Path, source: str, licence: str) -> Weights:
    digest = hashlib.sha256()
    for path in _deciding_files(folder, kind):
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n".encode())
    return Weights(name, kind, folder, source, licence, digest.hexdigest(), _size(folder))


_NOT_DECIDING = frozenset({gguf.RECORD_NAME, gguf.TUNING_NAME, "data_config.json", "train_script.py"})


def _deciding_files(folder: Path, kind: WeightsKind) -> Iterable[Path]:
    """Weights, configuration, tokenizer and chat template: not cards, pictures or our own records.

    Of a cross-encoder, its two files: the record has its calibration. An adapter does not change by the one beside it.
    """
    if kind == "cross-encoder":
        yield from (folder / CROSS_ENCODER_RECORD, folder / CROSS_ENCODER_WEIGHTS)
        return
    for path in sorted(folder.rglob("*")):
        if kind == "adapter" and path.relative_to(folder).parts[0] == CROSS_ENCODER_FOLDER:
            continue
        if path.suffix in (".safetensors", ".json", ".jinja", ".txt", ".model") and path.name not in _NOT_DECIDING:
            yield path


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _card_licence(folder: Path) -> str:
    """The `license` of the model card's front matter, else that of the conversion's record."""
    try:
        licence = _front_matter_licence(folder / "README.md")
    except Exception:  # yaml raises anything on a broken card, which must not keep the weights from being used
        licence = None
    if isinstance(licence, str) and licence.strip():
        return gguf.canonical_licence(licence)
    record = gguf.read_record(folder)
    return record.licence if record is not None else gguf.UNKNOWN_LICENCE


_PLAIN_LICENCE = re.compile(
    r"---\n(?:.*\n)*?license: *(?!(?i:null|true|false|yes|no|on|off) *\n)([A-Za-z][\w.+-]*) *\n"
)
"""Front matter up to a licence that needs no YAML to be read, as nearly all cards have it."""


def _front_matter_licence(card: Path) -> object:
    """The `license` of a model card; raises what reading a file and YAML raise."""
    front = card.read_text(encoding="utf-8").partition("\n---")[0] + "\n"
    plain = _PLAIN_LICENCE.match(front)
    if plain is not None or "license" not in front:
        return plain and plain[1]
    from huggingface_hub import metadata_load  # imported here: it takes half a second, which a question waits for

    return (metadata_load(card) or {}).get("license")


def _last_part(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]
