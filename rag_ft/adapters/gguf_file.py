"""Write a Llama model's folder as a GGUF file for llama.cpp, and compare the file with what it was made from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rag_ft.errors import AdapterError
from rag_ft.models.gguf import TUNING_KEY, TUNING_NAME
from rag_ft.models.weights import tensor_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

GgufType: TypeAlias = Literal["f16", "q8_0"]
GGUF_TYPES: tuple[GgufType, ...] = ("f16", "q8_0")

_BYTES_PER_VALUE: dict[GgufType, float] = {"f16": 2.0, "q8_0": 34 / 32}  # a block of 32 has a scale of two bytes

_CARRIED = ("prompt_fingerprint", "shots", "kinds", "whole_sentences", "threshold", "examples", "base_model", "adapter")
"""Keys of a merged model's record that a reader of the GGUF needs."""


def gguf_bytes(folder: Path, kind: GgufType) -> int:
    """About how large the GGUF of a model's folder will be."""
    values = sum(math.prod(shape) for path in folder.glob("*.safetensors") for shape in tensor_shapes(path).values())
    return int(_BYTES_PER_VALUE[kind] * values)


def write_gguf(folder: Path, target: Path, kind: GgufType) -> int:
    """Write the GGUF of a model's folder; returns the number of its tensors. Raises AdapterError."""
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
    _add_architecture(writer, folder, config)
    _add_tokenizer(writer, folder, config["vocab_size"])
    record = folder / TUNING_NAME
    if record.is_file():
        writer.add_string(TUNING_KEY, json.dumps(_carried(json.loads(record.read_text(encoding="utf-8")))))
    tensors = _tensors(folder, config)
    for name, array in tensors:
        data, stored_type = _stored(array, kind)
        writer.add_tensor(name, data, raw_dtype=stored_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return len(tensors)


def check_gguf(folder: Path, path: Path, kind: GgufType) -> None:
    """Open a written GGUF again: every tensor is there, and equal to its source within the rounding of its type.

    Raises AdapterError.
    """
    import gguf
    import numpy as np

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    written = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name, source in _tensors(folder, config):
        tensor = written.pop(name, None)
        if tensor is None:
            raise AdapterError(f"the GGUF lacks the tensor {name}: export it again")
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(source.shape)
        if tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0:
            blocks = np.abs(source).reshape(*source.shape[:-1], -1, 32).max(-1, keepdims=True)
            # Half a step of amax / 127, and the step itself is a float16.
            room = np.broadcast_to(blocks * (0.5 / 127 + 2**-11) + 1e-6, (*blocks.shape[:-1], 32)).reshape(source.shape)
        elif tensor.tensor_type == gguf.GGMLQuantizationType.F16:
            room = np.abs(source) * 2**-11 + 2**-24
        else:
            room = np.zeros_like(source)
        if not (np.abs(values - source) <= room).all():
            raise AdapterError(f"the tensor {name} of the GGUF differs from its source by more than {kind} rounds away")
    if written:
        raise AdapterError(f"the GGUF has a tensor {next(iter(written))} that its source lacks: export it again")


def _carried(tuning: dict[str, Any]) -> dict[str, Any]:
    """The part of a merged model's record that goes into the file; of the documents it was trained on only their
    fingerprints, since a file for others must not reveal their names.
    """
    carried = {key: tuning[key] for key in _CARRIED if key in tuning}
    fingerprints = tuning.get("data", {}).get("document_fingerprints")
    return carried if fingerprints is None else {**carried, "data": {"document_fingerprints": fingerprints}}


def _add_architecture(writer: Any, folder: Path, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
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
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: Any, folder: Path, rows: int) -> None:
    """Add the vocabulary as llama.cpp wants it: byte-level BPE, its merges, and the rule that cuts text before them."""
    import gguf

    from rag_ft.models.loading import load_tokenizer

    tokenizer = load_tokenizer(str(folder))
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    if backend["model"].get("type") != "BPE":
        raise AdapterError(f"the tokenizer in {folder} is not byte-level BPE: use the safetensors")
    words = {token_id: word for word, token_id in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, kinds = [], []
    for token_id in range(rows):
        tokens.append(words.get(token_id, f"[PAD{token_id}]"))
        if token_id not in words:
            kinds.append(gguf.TokenType.UNUSED)
        elif token_id in added:
            kinds.append(gguf.TokenType.CONTROL if added[token_id].special else gguf.TokenType.USER_DEFINED)
        else:
            kinds.append(gguf.TokenType.NORMAL)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in backend["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(backend, folder))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    adders: dict[str, Callable[[int], None]] = {
        "bos_token_id": writer.add_bos_token_id,
        "eos_token_id": writer.add_eos_token_id,
        "unk_token_id": writer.add_unk_token_id,
        "pad_token_id": writer.add_pad_token_id,
    }
    for attribute, add in adders.items():
        special_id = getattr(tokenizer, attribute, None)
        if special_id is not None:
            add(int(special_id))
    writer.add_add_bos_token(False)  # the chat template writes it
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _pre_tokenizer(backend: dict[str, Any], folder: Path) -> str:
    """llama.cpp's name for the rule that cuts text; a wrong one would cut numbers in another way, silently."""
    rule = backend.get("pre_tokenizer") or {}
    steps = rule.get("pretokenizers", [rule])
    kinds = [(step.get("type"), step.get("individual_digits", step.get("use_regex", True))) for step in steps]
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
    tensors = []
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(path).items():
            if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                continue  # llama.cpp takes the embedding where there is no output
            gguf_name = names.get_name(name, try_suffixes=(".weight",))
            if gguf_name is None:
                raise AdapterError(f"{name} of {folder} has no name in the GGUF of a Llama: use the safetensors")
            array = tensor.float().numpy()
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                heads = config["num_attention_heads"]
                array = _interleaved(array, heads if "q_proj" in name else config.get("num_key_value_heads") or heads)
            tensors.append((gguf_name, array))
    return tensors


def _interleaved(array: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rotary pairs side by side, as llama.cpp rotates them, instead of in the two halves of a head."""
    rows, columns = array.shape
    pairs: NDArray[Any] = array.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2)
    return pairs.reshape(rows, columns)


def _stored(array: NDArray[Any], kind: GgufType) -> tuple[Any, Any]:
    """Data and type of a tensor: vectors stay float32, rows that do not divide into blocks stay float16."""
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
