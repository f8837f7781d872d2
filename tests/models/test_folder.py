"""What is refused before any library opens a folder. The traps would leave a file where they are imported."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rag_ft.errors import WeightsError
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.sentence_embedding import SentenceEmbedder
from rag_ft.models.defaults import embedder_folder
from rag_ft.models.folder import check_model_folder, module_types
from rag_ft.models.weights import (
    Weights,
    packaged_adapter,
    resolve_adapter,
    resolve_embedder,
    resolve_reader,
)


@pytest.fixture
def embedder(tmp_path):
    """The packaged embedder's folder without its weights' 90 MB: none of these tests comes to reading them."""
    source = embedder_folder()
    folder = tmp_path / "embedder"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "tokenizer.json", "vocab.txt"))
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    assert resolve_embedder(str(folder)).path == folder
    return folder


@pytest.fixture
def reader(tiny_llama_dir, tmp_path):
    return Path(shutil.copytree(tiny_llama_dir, tmp_path / "reader"))


def change(path, **values):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}))


def refused(call, *says):
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message


def set_module(folder, **values):
    modules = json.loads((folder / "modules.json").read_text())
    modules[1].update(values)
    (folder / "modules.json").write_text(json.dumps(modules))


def trap(folder, sign):
    code = f"from pathlib import Path\nPath({str(sign)!r}).touch()\nclass Pooling:\n    pass\n"
    (folder / "trap.py").write_text(code)
    (folder / "1_Pooling" / "trap.py").write_text(code)


@pytest.mark.parametrize(
    "kind",
    [
        "trap.Pooling",
        "modeling.trap.Pooling",
        "subprocess.Popen",
        "os.system",
        "sentence_transformers.models.WordEmbeddings",
        "sentence_transformers.models.Router",
        "sentence_transformers.base.modules.router.Router",
        "sentence_transformers.models.Pooling.trap",
        "sentence_transformers..trap.Pooling",
        "organisation/model--trap.Pooling",
        None,
        ["sentence_transformers.models.Pooling"],
    ],
)
def test_an_embedder_that_names_code_is_refused_before_anything_of_it_runs(embedder, tmp_path, monkeypatch, kind):
    sign = tmp_path / "ran"
    trap(embedder, sign)
    set_module(embedder, type=kind)
    monkeypatch.chdir(embedder)
    monkeypatch.syspath_prepend(str(embedder))
    refused(lambda: load_embedder(str(embedder)), "modules.json asks for the module", "not allowed")
    # The class that hands the folder to the library looks for itself.
    weights = Weights("x", "embedder", embedder, "", "", "0" * 64, 0)
    refused(lambda: SentenceEmbedder(weights), "modules.json asks for the module")
    assert not sign.exists()


def test_the_trap_would_run_so_that_the_tests_above_test_something(embedder, tmp_path):
    sign = tmp_path / "ran"
    trap(embedder, sign)
    subprocess.run([sys.executable, "-c", "import trap"], cwd=embedder, check=True)
    assert sign.exists()


def test_the_check_imports_nothing_of_the_libraries(embedder):
    set_module(embedder, type="trap.Pooling")
    code = (
        "import sys\nfrom rag_ft.models.weights import resolve_embedder\ntry:\n    resolve_embedder(sys.argv[1])\n"
        "except Exception as error:\n    print(type(error).__name__, 'sentence_transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(embedder)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["WeightsError", "False"]


def test_every_spelling_of_the_modules_that_are_loaded_passes(embedder):
    for kind in module_types():
        set_module(embedder, type=kind)
        resolve_embedder(str(embedder))


@pytest.mark.parametrize("path", ["../1_Pooling", "/etc", "..\\x", "C:/x", 3, None])
def test_a_module_outside_of_the_folder_is_refused(embedder, path):
    set_module(embedder, path=path)
    refused(lambda: resolve_embedder(str(embedder)), "outside its folder")


@pytest.mark.parametrize(
    "values",
    [
        {"tokenizer_name_or_path": "organisation/model"},
        {"model_args": {"attn_implementation": "organisation/kernel"}},
        {"model_kwargs": {"gguf_file": "../x.gguf"}},
        {"config_args": {"auto_map": {"AutoConfig": "trap.Config"}}},
        {"tokenizer_args": {"tokenizer_file": "/etc/passwd"}},
        {"processor_kwargs": ["x"]},
        {"modality_config": {"text": {"method": "save_pretrained"}}},
    ],
)
def test_what_an_embedder_would_hand_on_to_transformers_is_refused(embedder, values):
    change(embedder / "sentence_bert_config.json", **values)
    refused(lambda: resolve_embedder(str(embedder)), "sentence_bert_config.json")


def test_what_sentence_transformers_itself_writes_passes(embedder):
    method = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    change(embedder / "sentence_bert_config.json", modality_config=method, model_args={"add_pooling_layer": False})
    resolve_embedder(str(embedder))


def test_an_activation_that_is_not_one_of_torch_is_refused(embedder):
    dense = embedder / "3_Dense"
    dense.mkdir()
    modules = json.loads((embedder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (embedder / "modules.json").write_text(json.dumps(modules))
    change(dense / "config.json", activation_function="torch.nn.modules.activation.Tanh")
    resolve_embedder(str(embedder))
    for name in ("os.getcwd", "torch.hub.load", "torch.nn.modules.activation.os.getcwd", 3):
        change(dense / "config.json", activation_function=name)
        refused(lambda: resolve_embedder(str(embedder)), "activation function")


def test_pickled_weights_of_a_module_are_refused_whatever_else_the_folder_holds(embedder):
    (embedder / "1_Pooling" / "pytorch_model.bin").write_bytes(b"x")
    shutil.copy(embedder / "model.safetensors", embedder / "1_Pooling" / "other.safetensors")
    refused(lambda: resolve_embedder(str(embedder)), "pytorch_model.bin", "convert them to safetensors")
    shutil.copy(embedder / "model.safetensors", embedder / "1_Pooling" / "model.safetensors")
    resolve_embedder(str(embedder))
    # The same where only a folder beside the model's own has safetensors.
    (embedder / "model.safetensors").rename(embedder / "1_Pooling" / "model.safetensors")
    (embedder / "pytorch_model.bin").write_bytes(b"x")
    refused(lambda: resolve_embedder(str(embedder)), "pytorch_model.bin")


@pytest.mark.parametrize("part", ["", "tokenizer_", "processor_", "preprocessor_", "generation_"])
def test_code_that_any_configuration_asks_for_is_refused(reader, part):
    name = f"{part}config.json"
    change(reader / name, inner={"deeper": [{"auto_map": {"AutoModel": "trap.Model"}}]})
    refused(lambda: resolve_reader(str(reader)), name, "auto_map", "never run")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"custom_pipelines": {"x": {"impl": "trap.Pipeline"}}}, "custom_pipelines"),
        ({"attn_implementation": "organisation/kernel"}, "code of the hub"),
        ({"text_config": {"_attn_implementation": {"": "organisation/kernel:x"}}}, "code of the hub"),
        ({"transformers_weights": "../x.safetensors"}, "not a safetensors file beside it"),
        ({"transformers_weights": "x.bin"}, "not a safetensors file beside it"),
    ],
)
def test_other_ways_to_code_and_to_foreign_files_are_refused(reader, values, says):
    change(reader / "config.json", **values)
    refused(lambda: resolve_reader(str(reader)), "config.json", says)


def test_names_that_libraries_know_pass(reader):
    change(reader / "config.json", attn_implementation="sdpa", auto_map={}, transformers_weights=None)
    resolve_reader(str(reader))


def test_a_base_that_comes_with_an_adapter_or_code_for_generating_is_refused(reader):
    (reader / "custom_generate").mkdir()
    refused(lambda: resolve_reader(str(reader)), "custom_generate")
    (reader / "custom_generate").rmdir()
    (reader / "adapter_config.json").write_text('{"base_model_name_or_path": "organisation/model"}')
    refused(lambda: resolve_reader(str(reader)), "adapter_config.json", "the adapter as an adapter")


@pytest.mark.parametrize("part", ["../x.safetensors", "/x.safetensors", "x.bin", "absent.safetensors"])
def test_parts_of_split_weights_lie_beside_their_list(reader, part):
    change(reader / "model.safetensors.index.json", weight_map={"x": part})
    refused(lambda: check_model_folder(reader), "not a safetensors file beside it")
    change(reader / "model.safetensors.index.json", weight_map={"x": "model.safetensors"})
    check_model_folder(reader)


def test_a_configuration_that_is_nested_without_end_is_one_sentence(reader):
    (reader / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    refused(lambda: resolve_reader(str(reader)), "config.json is not JSON")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"peft_type": "PROMPT_TUNING", "tokenizer_kwargs": {"trust_remote_code": True}}, "give a LoRA adapter"),
        ({"peft_type": None}, "give a LoRA adapter"),
        ({"auto_mapping": {"base_model_class": "Model", "parent_library": "trap"}}, "auto_mapping"),
        ({"auto_mapping": "trap"}, "auto_mapping"),
        ({"megatron_config": {"x": 1}, "megatron_core": "trap"}, "megatron_core"),
    ],
)
def test_an_adapter_that_names_code_is_refused(tiny_adapter, values, says):
    change(tiny_adapter / "adapter_config.json", **values)
    refused(lambda: resolve_adapter(tiny_adapter), says)


@pytest.fixture
def tiny_adapter(tmp_path):
    packaged = packaged_adapter()
    if packaged is None:
        pytest.skip("no packaged adapter")
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(packaged / name, folder / name)
    return folder
