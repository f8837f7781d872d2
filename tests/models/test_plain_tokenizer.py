import json
import shutil

import pytest
from transformers import AutoTokenizer

from rag_ft.answering.prompt import PromptBuilder
from rag_ft.models.plain_tokenizer import load_plain_tokenizer

TEXTS = ["The quick brown fox", "<|im_end|> naïve 東京 12345", "", "  two\n\nlines "]


@pytest.fixture
def folder(tiny_llama_dir, tmp_path):
    """The tiny tokenizer with the settings that the default reader's has."""
    target = shutil.copytree(tiny_llama_dir, tmp_path / "tokenizer")
    settings = json.loads((target / "tokenizer_config.json").read_text())
    for name in ("additional_special_tokens", "extra_special_tokens"):
        settings.pop(name, None)
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
    return target


def library_of(folder):
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def plain_of(folder):
    return load_plain_tokenizer(folder, lambda: library_of(folder))


def test_ids_and_texts_are_the_library_s(folder):
    plain, library = plain_of(folder), library_of(folder)
    for text in TEXTS:
        ids = plain.encode(text, add_special_tokens=False)
        assert ids == library.encode(text, add_special_tokens=False)
        assert plain.decode(ids) == library.decode(ids) == text
        assert plain.decode(ids, skip_special_tokens=True) == library.decode(ids, skip_special_tokens=True)
    assert set(plain.all_special_ids) == set(library.all_special_ids)
    assert (plain.eos_token_id, plain.pad_token_id) == (library.eos_token_id, library.pad_token_id)
    assert {i: str(token) for i, token in plain.added_tokens_decoder.items()} == {
        i: str(token) for i, token in library.added_tokens_decoder.items()
    }


@pytest.mark.parametrize("shots", [True, False])
def test_prompts_are_the_library_s(folder, shots):
    plain, library = (PromptBuilder(one, shots=shots) for one in (plain_of(folder), library_of(folder)))
    assert (plain.fingerprint, plain.head) == (library.fingerprint, library.head)


def test_what_it_does_not_have_is_the_library_s(folder):
    plain = plain_of(folder)
    assert plain.eos_token == "<|im_end|>" and plain.get_vocab() == library_of(folder).get_vocab()
    messages = [{"role": "user", "content": "Hello"}]
    assert list(plain.apply_chat_template(messages)["input_ids"]) == plain.encode(
        plain.apply_chat_template(messages, tokenize=False)
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer_class": "LlamaTokenizer"},
        {"clean_up_tokenization_spaces": True},
        {"extra_special_tokens": ["<|x|>"]},
        {"eos_token": "<|not in the vocabulary|>"},
        {"add_bos_token": True},
    ],
)
def test_settings_that_only_the_library_honours_are_left_to_it(folder, settings):
    assert plain_of(folder) is not None
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    assert plain_of(folder) is None


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{{ messages | tojson }}", None])
def test_templates_that_need_the_library_are_left_to_it(folder, template):
    path = folder / "chat_template.jinja"
    if template is None:
        path.unlink()
    else:
        path.write_text(template)
    assert plain_of(folder) is None
