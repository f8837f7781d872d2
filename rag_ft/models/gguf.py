"""Convert a GGUF file, once, to a folder that transformers loads directly: locked, checked, written whole.

A conversion can be repeated from a file with a known checksum, so a damaged result is replaced without asking. A folder
is ours where the record that we write is in it; any other folder in its place, and a link, is left alone and named.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rag_ft import environment
from rag_ft.checksums import sha256_of
from rag_ft.errors import WeightsError, first_line
from rag_ft.files import RESULT, disk_full, is_disk_full, is_plain_file, is_real_folder, require_space, staged
from rag_ft.progress import OnProgress, Progress, notify, quiet_transformers

logger = logging.getLogger(__name__)

RECORD_NAME = "rag_ft.json"
RECORD_FORMAT = 1

TUNING_NAME = "tuning.json"
"""File in a folder of tuned weights that need no adapter (merged, or from a GGUF with TUNING_KEY): how to ask them."""

TUNING_KEY = "rag_ft.training.run"
"""Key of a GGUF whose value is the content of TUNING_NAME, as JSON."""

UNKNOWN_LICENCE = "unknown: see the model card"

LOCK_WAIT_S = 900.0
"""Longest wait for another process that converts the same file; a conversion takes about 20 s."""

_SPARE_BYTES = 16 * 1024 * 1024
_ELSEWHERE = "RAG_FT_HOME can name a folder on another disk"

_SINGLE_DIGIT_PRE_TOKENIZERS = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell"})
"""`tokenizer.ggml.pre` values that mean: split off every digit, then apply the GPT-2 pattern (as in llama.cpp)."""

_FAITHFUL_PRE_TOKENIZERS = frozenset({"default", "gpt-2", "qwen2", "llama-bpe"})
"""`tokenizer.ggml.pre` values that transformers reproduces when it reads a GGUF."""


@dataclass(frozen=True)
class ConversionRecord:
    """The record beside converted weights: where they came from and the checksum of every file."""

    name: str
    """Name to show to people, e.g. `SmolLM2-135M-Instruct.Q4_1.gguf`."""
    gguf_sha256: str
    licence: str
    files: dict[str, tuple[int, str]]
    """File name → (bytes, hex SHA-256), for all files except the record."""

    def to_json(self) -> dict[str, Any]:
        """The record as the JSON object that is written."""
        return {
            "format": RECORD_FORMAT,
            "name": self.name,
            "gguf_sha256": self.gguf_sha256,
            "licence": self.licence,
            "files": {name: {"bytes": size, "sha256": sha} for name, (size, sha) in sorted(self.files.items())},
        }


def weights_home() -> Path:
    """Folder that holds one folder for each converted GGUF file."""
    return environment.home() / "weights"


def folder_for(stem: str, gguf_sha256: str) -> Path:
    """Where the conversion of a GGUF file lives, whether or not it exists yet."""
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:48] or "model"
    return weights_home() / f"{slug}-{gguf_sha256[:12]}"


def read_record(folder: Path) -> ConversionRecord | None:
    """The folder's record, or None where there is none that this version reads."""
    try:
        raw = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
        if raw["format"] != RECORD_FORMAT:
            return None
        files = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in raw["files"].items()}
        return ConversionRecord(str(raw["name"]), str(raw["gguf_sha256"]), str(raw["licence"]), files)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def find_damage(folder: Path, *, fresh: bool = False) -> str | None:
    """What is wrong with a converted folder, in a few words, or None.

    Sizes and checksums are compared with the record; a large file that has not changed since its checksum was
    taken is not read again unless `fresh`.
    """
    record = read_record(folder)
    if record is None:
        return f"{RECORD_NAME} is missing or unreadable"
    for name, (size, digest) in record.files.items():
        path = folder / name
        try:
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
            if sha256_of(path, fresh=fresh) != digest:
                return f"{name} does not have the checksum it was written with"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    return None


def convert_once(
    folder: Path,
    *,
    name: str,
    gguf_sha256: str,
    obtain: Callable[[Path, OnProgress | None], Path],
    needed_bytes: int,
    licence: str | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """`folder`, after making sure that it holds the intact conversion of the GGUF file.

    `obtain(work_folder, on_progress)` returns the path of the GGUF, already checked; it is called only when there is
    something to convert. `needed_bytes` must be free beforehand. `licence` None: the one that the GGUF names. A damaged
    conversion is replaced, with a warning. Raises WeightsError.
    """
    if folder.is_dir() and find_damage(folder) is None:
        return folder
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _locked(parent / f".{folder.name}.lock"):
            # Another process may have finished while this one waited.
            damage = find_damage(folder) if folder.is_dir() else None
            if folder.is_dir() and damage is None:
                return folder
            _refuse_foreign(folder)
            if damage is not None:
                logger.warning("%s is damaged (%s) and is converted again", folder, damage)
            with staged(folder, overwrite=True, foreign=_foreign, error=WeightsError, elsewhere=_ELSEWHERE) as work:
                require_space(parent, needed_bytes + _SPARE_BYTES, error=WeightsError, kept=_ELSEWHERE)
                _convert_into(work, name, gguf_sha256, obtain, licence, on_progress)
            find_damage(folder)  # remembers the checksums under the final path
    except OSError as error:
        raise WeightsError(_os_error_message(error, parent)) from error
    return folder


def _foreign(folder: Path) -> Path | None:
    """The folder itself unless a conversion wrote it."""
    return None if is_real_folder(folder) and is_plain_file(folder / RECORD_NAME) else folder


def _refuse_foreign(folder: Path) -> None:
    """Raise WeightsError where something other than a conversion is in the folder's place."""
    if os.path.lexists(folder) and _foreign(folder) is not None:
        raise WeightsError(
            f"{folder} is in the place of converted weights and was not written by rag_ft (it holds no {RECORD_NAME}):"
            " move it away, or set RAG_FT_HOME to another folder"
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is preparing the same weights; waiting for it")
        try:
            lock.acquire(timeout=LOCK_WAIT_S)
        except Timeout as error:
            raise WeightsError(
                f"another process has held {path} for {LOCK_WAIT_S / 60:.0f} minutes: wait for it or end it,"
                " then try again"
            ) from error
    try:
        yield
    finally:
        lock.release()


def _convert_into(
    work: Path,
    name: str,
    gguf_sha256: str,
    obtain: Callable[[Path, OnProgress | None], Path],
    licence: str | None,
    on_progress: OnProgress | None,
) -> None:
    """Write model, tokenizer and record into the `result` of a staged folder."""
    fetched, result = work / "source", work / RESULT
    fetched.mkdir()
    result.mkdir()
    gguf_file = obtain(fetched, on_progress)
    named_licence = _write_folder(gguf_file, result, on_progress)
    notify(on_progress, Progress("checking the converted weights"))
    files = {path.name: (path.stat().st_size, sha256_of(path, fresh=True)) for path in sorted(result.iterdir())}
    record = ConversionRecord(name, gguf_sha256, licence or named_licence, files)
    (result / RECORD_NAME).write_text(json.dumps(record.to_json(), indent=1) + "\n", encoding="utf-8")


def _write_folder(gguf_file: Path, folder: Path, on_progress: OnProgress | None) -> str:
    """Write model, tokenizer and configuration of a GGUF into `folder`; returns the licence that the GGUF names.

    The weights are written as float32: a block-quantised value is scale times integer plus offset and is exact in
    neither bfloat16 (about 30% of them are) nor float16 (about 70%), so a halved file would hold other weights.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Alone in a folder, so that transformers does not mix in tokenizer files that lie beside the GGUF.
    alone = folder.parent / "alone"
    alone.mkdir()
    with contextlib.suppress(OSError):
        os.symlink(gguf_file.absolute(), alone / "model.gguf")
    if not (alone / "model.gguf").exists():
        shutil.copyfile(gguf_file, alone / "model.gguf")
    source: dict[str, Any] = {"gguf_file": "model.gguf", "local_files_only": True, "trust_remote_code": False}
    notify(on_progress, Progress("reading the tokenizer"))
    try:
        with quiet_transformers():
            reader = GGUFReader(alone / "model.gguf")
            fields = {key: field.contents() for key, field in reader.fields.items() if _is_wanted(key)}
            del reader
            tokenizer = AutoTokenizer.from_pretrained(alone, **source)
            notify(on_progress, Progress("converting the weights to safetensors, once"))
            with contextlib.redirect_stderr(io.StringIO()):  # transformers draws this bar past its own switch
                model = AutoModelForCausalLM.from_pretrained(alone, dtype=torch.float32, **source)
            _mend_digits(tokenizer, fields)
            # save_pretrained refuses a model that says it is quantised; these weights no longer are.
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.hf_quantizer = None
            model.is_quantized = False
            window = getattr(model.config, "max_position_embeddings", None)
            if isinstance(window, int):
                tokenizer.model_max_length = window
            notify(on_progress, Progress("writing the converted weights"))
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            rows = int(model.get_input_embeddings().weight.shape[0])
            del model
            # Versions and paths of this machine would make the fingerprint differ between machines.
            drop_keys(folder / "config.json", "transformers_version", "_model_name_or_path", "_name_or_path")
            drop_keys(folder / "generation_config.json", "transformers_version", "_from_model_config")
            drop_keys(folder / "tokenizer_config.json", "is_local", "local_files_only", "name_or_path")
            if TUNING_KEY in fields:
                (folder / TUNING_NAME).write_text(str(fields[TUNING_KEY]), encoding="utf-8")
            _check_tokenizer(folder, rows, byte_level=fields.get("tokenizer.ggml.model") == "gpt2")
    except (WeightsError, OSError):
        raise
    except Exception as error:  # gguf and transformers raise anything on a file that they cannot read
        if is_disk_full(error):  # safetensors has its own message for it
            raise
        raise WeightsError(
            f"{gguf_file.name} cannot be converted by the installed transformers ({first_line(error)}): "
            "use a GGUF of a Llama-like causal language model, or its safetensors"
        ) from error
    finally:
        shutil.rmtree(alone, ignore_errors=True)
    licence = fields.get("general.license")
    return canonical_licence(str(licence)) if licence else UNKNOWN_LICENCE


def canonical_licence(licence: str) -> str:
    """A licence as its SPDX expression (`apache-2.0` → `Apache-2.0`); as it was given where SPDX does not know it."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(licence))
    except InvalidLicenseExpression:  # `other`, `llama3`: words of the hub
        return licence.strip()


def _is_wanted(key: str) -> bool:
    return key in {"general.license", "tokenizer.ggml.pre", "tokenizer.ggml.model", TUNING_KEY}


def _mend_digits(tokenizer: Any, fields: dict[str, Any]) -> None:
    r"""Split digits one by one where the GGUF asks for it.

    transformers 5.23 reads every GPT-2-like GGUF with the plain byte-level pattern. The merges of such a vocabulary
    join no digits, so that numbers look right, but white space before a number is cut otherwise: "\n\n1" would
    become three tokens where the model was trained on two.
    """
    if fields.get("tokenizer.ggml.model") != "gpt2":
        return
    pre = fields.get("tokenizer.ggml.pre", "default")
    if pre in _SINGLE_DIGIT_PRE_TOKENIZERS:
        from tokenizers import pre_tokenizers

        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    elif pre not in _FAITHFUL_PRE_TOKENIZERS:
        logger.warning(
            "the GGUF splits text by the rule %r, which transformers may not reproduce: numbers and white space may "
            "be tokenised differently from training; prefer the model's safetensors",
            pre,
        )


_PROBES = ("In 2024, 1,234 cafés cost £5.", "1. one\n\n2. two\n  12\tx", "naïve 日本語 🙂 it's  two   spaces\r\n")


def _check_tokenizer(folder: Path, embedding_rows: int, *, byte_level: bool) -> None:
    """Load the tokenizer that was written and raise WeightsError unless it does what the reader relies on."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if len(tokenizer) > embedding_rows:
        raise WeightsError(
            f"the tokenizer in the GGUF has {len(tokenizer):,} tokens and the model only {embedding_rows:,}: "
            "the file is inconsistent, so fetch it again"
        )
    if byte_level:
        for probe in _PROBES:
            decoded = tokenizer.decode(tokenizer.encode(probe, add_special_tokens=False))
            if decoded != probe:
                raise WeightsError(
                    f"the tokenizer converted from the GGUF turns {probe!r} into {decoded!r}: use the model's"
                    " safetensors"
                )


def drop_keys(path: Path, *keys: str) -> None:
    """Rewrite a JSON file without these keys; nothing happens where there is no file."""
    if not path.exists():
        return
    content = json.loads(path.read_text(encoding="utf-8"))
    for key in keys:
        content.pop(key, None)
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _os_error_message(error: OSError, folder: Path) -> str:
    if is_disk_full(error):
        return disk_full(folder, _ELSEWHERE)
    where = Path(error.filename) if isinstance(error.filename, str) else folder
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where} cannot be written: allow writing to it or set RAG_FT_HOME to a folder that you own"
    return f"{where} cannot be used ({error.strerror or error}): repair it or set RAG_FT_HOME to another folder"
