"""A tuned reader for other programs: a GGUF file for llama.cpp, or the adapter alone for PEFT and vLLM. Each is checked
after it is written, against what it was made from.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from rag_ft.adapters.merge import merge_adapter
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import AdapterError, UsageError
from rag_ft.files import RESULT, is_plain_file, require_space, staged
from rag_ft.models.adapter_record import ADAPTER_RECORD
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from rag_ft.models.gguf import TUNING_KEY, TUNING_NAME
from rag_ft.models.weights import DEFAULT, PACKAGED, resolve_adapter, resolve_reader, tensor_shapes
from rag_ft.training.saving import EXPORTED, foreign_in_adapter

if TYPE_CHECKING:
    from numpy.typing import NDArray

GgufType: TypeAlias = Literal["f16", "q8_0"]
GGUF_TYPES: tuple[GgufType, ...] = ("f16", "q8_0")

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values of vLLM's --max-lora-rank; an adapter's rank must not be above the one given."""

_GGUF_BYTES = {"f16": 2.0, "q8_0": 34 / 32}
"""Of a value; a block of 32 has a scale."""
_SPARE_BYTES = 64 * 1024 * 1024

_LINEAR = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj"})
_CARRIED = ("prompt_fingerprint", "shots", "threshold", "examples", "base_model", "adapter")
"""Of a merged model's record: what a reader of the GGUF must know."""


def _carried(tuning: dict[str, Any]) -> dict[str, Any]:
    """Of what it was trained on only the documents' fingerprints: a file for others need not tell their names."""
    carried = {name: tuning[name] for name in _CARRIED if name in tuning}
    prints = tuning.get("data", {}).get("document_fingerprints")
    return carried if prints is None else {**carried, "data": {"document_fingerprints": prints}}


class Exported(NamedTuple):
    """What an export wrote."""

    path: Path
    notes: tuple[str, ...]
    """What was checked, and what the program that loads it must be told."""


def export_to(
    form: str,
    source: str | Path,
    output: str | Path,
    *,
    base: str = DEFAULT,
    probes: Sequence[ReadRequest] | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
) -> Exported:
    """Write `safetensors` (merged, float32), `gguf-f16`, `gguf-q8_0` or `peft`: what `rag-ft adapter export` does."""
    if form == "peft":
        return export_adapter(source, output, overwrite=overwrite)
    if form == "safetensors":
        made = merge_adapter(source, output, base=base, probes=probes, overwrite=overwrite, say=say)
        return Exported(made.path, ())
    if not form.startswith("gguf-"):
        raise UsageError(f"the format {form!r} is not known: use safetensors, gguf-f16, gguf-q8_0 or peft")
    kind = form.removeprefix("gguf-")
    return export_gguf(source, output, kind=kind, base=base, probes=probes, overwrite=overwrite, say=say)


def export_gguf(
    source: str | Path,
    output: str | Path,
    *,
    kind: str = "f16",
    base: str = DEFAULT,
    probes: Sequence[ReadRequest] | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
) -> Exported:
    """Write a GGUF file for llama.cpp from a merged model's folder, or from an adapter, which is merged first.

    `kind`: `f16`, or `q8_0` for half the size. Matrices are stored in that type, vectors in float32. The file is
    opened again and every tensor compared with what it was made from, to the type's rounding. It also carries what a
    reader must know (threshold, prompt), so that `Reader.from_pretrained("x.gguf")` asks as it was tuned to be asked.
    Raises UsageError, WeightsError, AdapterError for a model that is no Llama or a tokenizer that llama.cpp would not
    reproduce.
    """
    if kind not in GGUF_TYPES:
        raise UsageError(f"the GGUF type {kind!r} is not known: use {' or '.join(GGUF_TYPES)}")
    output = Path(output)
    if output.suffix != ".gguf":
        raise UsageError(f"{output} is no name for a GGUF file: let it end in .gguf")
    with staged(output, overwrite=overwrite, foreign=_foreign_gguf, error=AdapterError) as work:
        folder = Path(source)
        if str(source) == PACKAGED or (folder / ADAPTER_CONFIG).is_file():
            folder = merge_adapter(source, work / "merged", base=base, probes=probes, say=say).path
        else:
            folder = resolve_reader(str(source)).path
        values = sum(
            math.prod(shape) for path in folder.glob("*.safetensors") for shape in tensor_shapes(path).values()
        )
        require_space(output.parent, int(_GGUF_BYTES[kind] * values) + _SPARE_BYTES, error=AdapterError)
        count = _write_gguf(folder, work / RESULT, kind)
        _compare_gguf(folder, work / RESULT, kind)
    note = f"{count} tensors, opened again and equal to the source within the rounding of {kind}"
    return Exported(output, (note,))


def _foreign_gguf(path: Path) -> Path | None:
    """The path itself, unless there is a GGUF file, which is what one named like it is asked to replace."""
    if not is_plain_file(path):
        return path
    with path.open("rb") as file:
        return None if file.read(4) == b"GGUF" else path


def export_adapter(adapter: str | Path, output: str | Path, *, overwrite: bool = False) -> Exported:
    """Copy an adapter for PEFT and vLLM, after checking that both load it as it is.

    Checked: LoRA on linear layers only, a rank that vLLM takes, no `modules_to_save`, no DoRA, no bias; the base is
    named by a hub id or a name, never by a path of this machine. Raises AdapterError naming what is in the way.
    """
    tuned = resolve_adapter(adapter_folder(adapter))
    found = vllm_problems(tuned.path)
    if found:
        raise AdapterError(f"the adapter {tuned.path} cannot be loaded by vLLM: {found[0]}")
    config = json.loads((tuned.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    notes = [f"vllm serve BASE --enable-lora --max-lora-rank {_vllm_rank(config)} --lora-modules NAME=FOLDER"]
    named = str(config.get("base_model_name_or_path") or "")
    if _is_path(named):
        config["base_model_name_or_path"] = _name_of(named)
        notes.append(f"the base is now named {_name_of(named)!r} instead of by a path of this machine")
    with staged(Path(output), overwrite=overwrite, foreign=foreign_in_adapter, error=AdapterError) as work:
        result = work / RESULT
        result.mkdir()
        for name in (ADAPTER_WEIGHTS, ADAPTER_RECORD, "README.md"):
            if (tuned.path / name).is_file():
                shutil.copyfile(tuned.path / name, result / name)
        if not (tuned.path / ADAPTER_RECORD).is_file():  # without one nobody could tell that the folder may be replaced
            record = {EXPORTED: {"name": tuned.name, "fingerprint": tuned.fingerprint}}
            (result / ADAPTER_RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (result / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return Exported(Path(output), tuple(notes))


def vllm_problems(folder: str | Path) -> list[str]:
    """Why vLLM would not load an adapter's folder; empty where it would."""
    config = json.loads((Path(folder) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    problems = []
    if config.get("peft_type") != "LORA":
        problems.append(f"it is of the kind {config.get('peft_type')} and must be LORA")
    if config.get("modules_to_save"):
        problems.append(f"it holds whole layers (modules_to_save: {config['modules_to_save']}): train without")
    if config.get("use_dora"):
        problems.append("it is a DoRA adapter: merge it, or train without DoRA")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        problems.append("it trains biases: train with bias='none'")
    if not problems and _vllm_rank(config) is None:
        problems.append(f"its rank is above {VLLM_RANKS[-1]}: train with a lower one, or merge it")
    for name in tensor_shapes(Path(folder) / ADAPTER_WEIGHTS):
        module = name.split(".lora_", 1)[0].rsplit(".", 1)[-1]
        if ".lora_A." not in name and ".lora_B." not in name:
            problems.append(f"the tensor {name} is no LoRA matrix of a linear layer")
        elif module not in _LINEAR:
            problems.append(f"{module} is no linear layer of the attention or the MLP")
        else:
            continue
        break
    return problems


def _vllm_rank(config: dict[str, Any]) -> int | None:
    highest = max([int(config["r"]), *(int(one) for one in (config.get("rank_pattern") or {}).values())])
    return next((one for one in VLLM_RANKS if one >= highest), None)


def _is_path(name: str) -> bool:
    return os.path.isabs(name) or name.startswith(("~", ".")) or "\\" in name


def _name_of(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _write_gguf(folder: Path, target: Path, kind: GgufType) -> int:
    """Write the file; how many tensors."""
    import gguf

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "llama" or config.get("attention_bias") or config.get("mlp_bias"):
        raise AdapterError(
            f"{folder} is a model of the kind {config.get('model_type')!r}: GGUF is written for Llama models without"
            " biases only; use the safetensors"
        )
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name("rag_ft reader")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.MOSTLY_Q8_0)
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or config
    if rope.get("rope_type", "default") != "default":
        raise AdapterError(f"{folder} has positions of the kind {rope['rope_type']!r}: use the safetensors")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_rope_dimension_count(size)
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, folder, config["vocab_size"])
    record = folder / TUNING_NAME
    if record.is_file():
        writer.add_string(TUNING_KEY, json.dumps(_carried(json.loads(record.read_text(encoding="utf-8")))))
    count = 0
    for name, array in _tensors(folder, config):
        data, stored = _stored(array, kind)
        writer.add_tensor(name, data, raw_dtype=stored)
        count += 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return count


def _add_tokenizer(writer: Any, folder: Path, rows: int) -> None:
    """The vocabulary as llama.cpp wants it: byte-level BPE, its merges, and the rule that cuts text before them."""
    import gguf

    from rag_ft.models.loading import load_tokenizer

    tokenizer = load_tokenizer(str(folder))
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    if backend["model"].get("type") != "BPE":
        raise AdapterError(f"the tokenizer in {folder} is no byte-level BPE: use the safetensors")
    by_id = {place: word for word, place in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, kinds = [], []
    for place in range(rows):
        tokens.append(by_id.get(place, f"[PAD{place}]"))
        if place not in by_id:
            kinds.append(gguf.TokenType.UNUSED)
        elif place in added:
            kinds.append(gguf.TokenType.CONTROL if added[place].special else gguf.TokenType.USER_DEFINED)
        else:
            kinds.append(gguf.TokenType.NORMAL)
    merges = [one if isinstance(one, str) else " ".join(one) for one in backend["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(backend, folder))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    for name, add in (
        ("bos_token_id", writer.add_bos_token_id),
        ("eos_token_id", writer.add_eos_token_id),
        ("unk_token_id", writer.add_unk_token_id),
        ("pad_token_id", writer.add_pad_token_id),
    ):
        if getattr(tokenizer, name, None) is not None:
            add(int(getattr(tokenizer, name)))
    writer.add_add_bos_token(False)  # the chat template writes it
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _pre_tokenizer(backend: dict[str, Any], folder: Path) -> str:
    """llama.cpp's name for the rule by which text is cut; a wrong one would cut numbers otherwise, silently."""
    given = backend.get("pre_tokenizer") or {}
    steps = given.get("pretokenizers", [given])
    kinds = [(one.get("type"), one.get("individual_digits", one.get("use_regex", True))) for one in steps]
    if kinds == [("Digits", True), ("ByteLevel", True)]:
        return "smollm"
    if kinds == [("ByteLevel", True)]:
        return "gpt-2"
    raise AdapterError(
        f"the tokenizer in {folder} cuts text by a rule that has no known name in llama.cpp"
        f" ({', '.join(str(kind) for kind, _ in kinds)}): use the safetensors"
    )


def _tensors(folder: Path, config: dict[str, Any]) -> list[tuple[str, NDArray[Any]]]:
    """GGUF's name and float32 values of every tensor, in the file's order."""
    import gguf
    from safetensors.torch import load_file

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(path).items():
            if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                continue  # llama.cpp takes the embedding where there is no output
            own = names.get_name(name, try_suffixes=(".weight",))
            if own is None:
                raise AdapterError(f"{name} of {folder} has no place in a GGUF of a Llama: use the safetensors")
            array = tensor.float().numpy()
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                heads = config["num_attention_heads"]
                array = _interleaved(array, heads if "q_proj" in name else config.get("num_key_value_heads") or heads)
            found.append((own, array))
    return found


def _interleaved(array: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rotary pairs side by side, as llama.cpp rotates them, instead of in the two halves of a head."""
    rows, columns = array.shape
    pairs: NDArray[Any] = array.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2)
    return pairs.reshape(rows, columns)


def _stored(array: NDArray[Any], kind: GgufType) -> tuple[Any, Any]:
    """Data and type of a tensor: vectors stay float32, rows that are no whole blocks stay float16."""
    import gguf
    import numpy as np

    if array.ndim == 1:
        return array.astype(np.float32), gguf.GGMLQuantizationType.F32
    if kind == "q8_0" and array.shape[-1] % 32 == 0:
        q8 = gguf.GGMLQuantizationType.Q8_0
        return gguf.quants.quantize(array.astype(np.float32), q8), q8
    if float(np.abs(array).max()) > float(np.finfo(np.float16).max):
        raise AdapterError("a weight is too large for float16: use the safetensors")
    return array.astype(np.float16), gguf.GGMLQuantizationType.F16


def _compare_gguf(folder: Path, path: Path, kind: GgufType) -> None:
    """Open the file again: every tensor there, and equal to its source within the rounding of its type."""
    import gguf
    import numpy as np

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    written = {one.name: one for one in gguf.GGUFReader(path).tensors}
    for name, source in _tensors(folder, config):
        one = written.pop(name, None)
        if one is None:
            raise AdapterError(f"the GGUF lacks the tensor {name}: export it again")
        found = gguf.quants.dequantize(one.data, one.tensor_type).astype(np.float32).reshape(source.shape)
        if one.tensor_type == gguf.GGMLQuantizationType.Q8_0:
            blocks = np.abs(source).reshape(*source.shape[:-1], -1, 32).max(-1, keepdims=True)
            # Half a step of amax / 127, and the step itself is a float16.
            room = np.broadcast_to(blocks * (0.5 / 127 + 2**-11) + 1e-6, (*blocks.shape[:-1], 32)).reshape(source.shape)
        elif one.tensor_type == gguf.GGMLQuantizationType.F16:
            room = np.abs(source) * 2**-11 + 2**-24
        else:
            room = np.zeros_like(source)
        if not (np.abs(found - source) <= room).all():
            raise AdapterError(f"the tensor {name} of the GGUF differs from its source by more than {kind} rounds away")
    if written:
        raise AdapterError(f"the GGUF has a tensor {next(iter(written))} that its source has not")
