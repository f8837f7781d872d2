import gguf
import pytest

from rag_ft.adapters import gguf_file
from rag_ft.adapters.gguf_file import check_gguf, gguf_bytes, write_gguf
from rag_ft.errors import AdapterError
from rag_ft.models.loading import load_tokenizer


def test_the_vocabulary_is_what_llama_cpp_reads(tiny_llama_dir, tmp_path):
    write_gguf(tiny_llama_dir, tmp_path / "r.gguf", "f16")
    fields = gguf.GGUFReader(tmp_path / "r.gguf").fields
    value = {name: field.contents() for name, field in fields.items()}
    tokenizer = load_tokenizer(str(tiny_llama_dir))
    assert value["general.architecture"] == "llama" and value["tokenizer.ggml.model"] == "gpt2"
    assert value["tokenizer.ggml.pre"] == "gpt-2"
    assert value["tokenizer.ggml.tokens"] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert len(value["tokenizer.ggml.token_type"]) == value["llama.vocab_size"] == len(tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert value["tokenizer.ggml.eos_token_id"] == end
    assert value["tokenizer.ggml.token_type"][end] == gguf.TokenType.CONTROL
    assert value["tokenizer.ggml.token_type"][300] == gguf.TokenType.NORMAL
    assert value["tokenizer.chat_template"] == tokenizer.chat_template
    first = value["tokenizer.ggml.merges"][0].split(" ")
    assert len(first) == 2 and "".join(first) in value["tokenizer.ggml.tokens"]
    assert (value["llama.attention.head_count"], value["llama.attention.head_count_kv"]) == (4, 2)


@pytest.mark.parametrize("kind", gguf_file.GGUF_TYPES)
def test_a_file_is_about_as_large_as_announced_and_equal_to_its_source(tiny_llama_dir, tmp_path, kind):
    count = write_gguf(tiny_llama_dir, tmp_path / "r.gguf", kind)
    check_gguf(tiny_llama_dir, tmp_path / "r.gguf", kind)
    assert count == len(gguf.GGUFReader(tmp_path / "r.gguf").tensors)
    size = sum(tensor.n_bytes for tensor in gguf.GGUFReader(tmp_path / "r.gguf").tensors)
    assert size == pytest.approx(gguf_bytes(tiny_llama_dir, kind), rel=0.05)


def test_a_tensor_too_few_or_too_many_is_found(tiny_llama_dir, tmp_path, monkeypatch):
    tensors = gguf_file._tensors
    write_gguf(tiny_llama_dir, tmp_path / "whole.gguf", "f16")
    monkeypatch.setattr(gguf_file, "_tensors", lambda *given: tensors(*given)[:-1])
    write_gguf(tiny_llama_dir, tmp_path / "cut.gguf", "f16")
    with pytest.raises(AdapterError, match=r"has a tensor .* that its source lacks"):
        check_gguf(tiny_llama_dir, tmp_path / "whole.gguf", "f16")
    monkeypatch.undo()
    with pytest.raises(AdapterError, match="lacks the tensor"):
        check_gguf(tiny_llama_dir, tmp_path / "cut.gguf", "f16")
