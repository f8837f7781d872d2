import json

import pytest
import torch
from tiny_cross_encoder import tiny_bert, tiny_tokenizer

from rag_ft.errors import WeightsError
from rag_ft.models.cross_encoder_network import encode_pairs
from rag_ft.models.plain_bert import load_plain_bert

PAIRS = [("ab?", "Tea is at four."), ("what is it, and when?", "x y")]


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    tiny_bert().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("count", [1, 2])
def test_it_computes_what_the_library_computes_to_the_last_bit_with_padding_and_without(folder, count):
    library = tiny_bert()
    plain = load_plain_bert(folder)
    library.load_state_dict(plain.state_dict())
    inputs = encode_pairs(tiny_tokenizer(), PAIRS[:count]).inputs
    assert (count == 2) == bool((inputs["attention_mask"] == 0).any())
    with torch.inference_mode():
        assert torch.equal(plain(**inputs), library.eval()(**inputs).last_hidden_state)


def test_its_parameters_have_the_names_of_the_library_s(folder):
    assert set(dict(load_plain_bert(folder).named_parameters())) == set(dict(tiny_bert().named_parameters()))


def test_the_file_s_weights_do_not_change_when_its_parameters_do(folder):
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        for parameter in load_plain_bert(folder).parameters():
            parameter.add_(1)
    assert (folder / "model.safetensors").read_bytes() == before


def test_another_network_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    with pytest.raises(WeightsError, match="cannot be loaded as an encoder"):
        load_plain_bert(folder)
