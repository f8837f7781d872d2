import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tiny_adapters import PASSAGES, PLAN, make_adapter
from transformers import LlamaConfig, LlamaForCausalLM

from rag_ft.answering.reader import Reader
from rag_ft.models.loading import load_model
from rag_ft.models.plain_llama import PlainLlama, load_plain_llama
from rag_ft.models.weights import Weights

QUESTION = "What does the fox do?"


@pytest.fixture(scope="module")
def adapter(tiny_llama_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter") / "all"
    modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    return make_adapter(folder, tiny_llama_dir, 1, modules=modules)


def plain_of(folder, adapter=None):
    tuned = None if adapter is None else Weights("a", "adapter", adapter, "test", "MIT", "f", 1)
    return load_plain_llama(Weights("m", "reader", folder, "test", "MIT", "f", 1), tuned, torch.float32)


def changed(folder, target, file, **settings):
    """A copy of a model's or adapter's folder with other settings in one of its files."""
    shutil.copytree(folder, target)
    path = target / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return target


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_computes_what_the_library_computes_to_the_last_bit(tiny_llama_dir, adapter, dtype):
    plan = replace(PLAN, dtype=dtype)
    plain = Reader(load_model(str(tiny_llama_dir), adapter=adapter, plan=plan, only_read=True))
    library = Reader(load_model(str(tiny_llama_dir), adapter=adapter, plan=plan))
    assert isinstance(plain.loaded.network, PlainLlama) and not isinstance(library.loaded.network, PlainLlama)
    (ours, ours_off), (theirs, theirs_off) = (
        [one.logits(QUESTION, PASSAGES, "jumps") for one in (reader, reader.with_adapter("none"))]
        for reader in (plain, library)
    )
    assert torch.equal(ours, theirs) and torch.equal(ours_off, theirs_off)
    assert not torch.equal(ours, ours_off), "the adapter must change something for this test to mean anything"


def test_untied_heads_and_grouped_keys_are_read(tmp_path):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 50}
    config = LlamaConfig(**shape, num_attention_heads=4, num_key_value_heads=1, head_dim=16, tie_word_embeddings=False)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    plain = plain_of(tmp_path)
    assert plain is not None and plain.get_output_embeddings().weight is not plain.get_input_embeddings().weight


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": "mistral"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
        {"quantization_config": {"quant_method": "awq"}},
        {"intermediate_size": 999},
    ],
)
def test_another_kind_of_model_is_left_to_the_library(tiny_llama_dir, tmp_path, settings):
    assert plain_of(tiny_llama_dir) is not None
    assert plain_of(changed(tiny_llama_dir, tmp_path / "other", "config.json", **settings)) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"bias": "lora_only"},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 8}},
        {"target_modules": ["q_proj"]},
        {"init_lora_weights": "pissa"},
        {"something_new": True},
    ],
)
def test_another_kind_of_adapter_is_left_to_peft(tiny_llama_dir, adapter, tmp_path, settings):
    assert plain_of(tiny_llama_dir, adapter) is not None
    assert plain_of(tiny_llama_dir, changed(adapter, tmp_path / "other", "adapter_config.json", **settings)) is None


def test_rank_stabilised_adapters_have_their_scale(tiny_llama_dir, adapter, tmp_path):
    stable = changed(adapter, tmp_path / "stable", "adapter_config.json", use_rslora=True)
    plain, library = (
        Reader(load_model(str(tiny_llama_dir), adapter=stable, plan=PLAN, only_read=only)) for only in (True, False)
    )
    assert torch.equal(plain.logits(QUESTION, PASSAGES, None), library.logits(QUESTION, PASSAGES, None))


HEAVY = ("transformers", "peft", "bitsandbytes", "sympy", "torch._dynamo", "huggingface_hub.hf_api", "trio")
READ = """
import sys
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.schema import Passage
reader = Reader.from_pretrained(sys.argv[1], adapter=sys.argv[2])
text = "The quick brown fox jumps over the lazy dog."
reader.read("What does the fox do?", [Passage(id="a", document_id="a", text=text, start=0, end=len(text))])
imported = [name for name in sys.argv[3:] if name in sys.modules]
sys.exit(f"imported: {imported}" if imported else 0)
"""


def test_a_first_question_imports_no_model_classes_and_nothing_that_reads_files(tiny_llama_dir, adapter, tmp_path):
    # The tiny tokenizer names more special tokens than the default one, which only the library would honour.
    settings = json.loads((tiny_llama_dir / "tokenizer_config.json").read_text())
    named = {name: value for name, value in settings.items() if not name.endswith("special_tokens")}
    base = shutil.copytree(tiny_llama_dir, tmp_path / "base")
    (base / "tokenizer_config.json").write_text(json.dumps(named))
    tuned = changed(adapter, tmp_path / "tuned", "rag_ft.json", base_model={})
    files = ("rag_ft.indexing.corpus", "rag_ft.indexing.formats.readers")
    command = [sys.executable, "-c", READ, str(base), str(tuned), *HEAVY, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
