from dataclasses import fields

import pytest
from tiny_reader import tiny_reader

from rag_ft.answering.config import ReaderConfig, ReaderSettings
from rag_ft.answering.reader import Reader
from rag_ft.errors import UsageError


def test_keyword_arguments_and_config_have_the_same_settings_of_the_same_types():
    assert {field.name: field.type for field in fields(ReaderConfig)} == {
        name: hint.__forward_arg__ for name, hint in ReaderSettings.__annotations__.items()
    }


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"mode": "guess"}, "mode is 'guess'"),
        ({"reading": "both"}, "reading is 'both'"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"max_answer_tokens": 0}, "max_answer_tokens is 0"),
        ({"max_prompt_tokens": -1}, "max_prompt_tokens is -1"),
        ({"temperature": 0.5}, "temperature is 0.5"),
        ({"mode": "free", "temperature": -1.0}, "temperature is -1.0"),
        ({"decoding": "beam"}, "decoding is 'beam'"),
        ({"passage_cache_mb": -1}, "passage_cache_mb is -1"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(loaded, settings, names):
    with pytest.raises(UsageError) as caught:
        Reader(loaded, **settings)
    assert str(caught.value).startswith(names) and "\n" not in str(caught.value)


def test_a_setting_that_does_not_exist_is_refused(loaded):
    with pytest.raises(TypeError, match="treshold"):
        Reader(loaded, treshold=0.5)


def test_what_a_config_leaves_open_comes_from_the_model(loaded):
    untuned = Reader(loaded)
    assert (untuned.reading, untuned.threshold, untuned.prompts.shots) == ("separate", None, True)
    given = tiny_reader(loaded, reading="joint", threshold=0.3, shots=False)
    assert (given.reading, given.threshold, given.prompts.shots) == ("joint", 0.3, False)
    assert given.config == ReaderConfig(reading="joint", threshold=0.3, shots=False)
