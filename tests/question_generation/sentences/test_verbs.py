import pytest

from rag_ft.question_generation.sentences.verbs import (
    BASE_OF_THIRD_PERSON,
    GERUNDS,
    VERBS,
    is_base_form,
)


@pytest.mark.parametrize(
    ("form", "base"),
    [
        ("supports", "support"),
        ("catches", "catch"),
        ("copies", "copy"),
        ("has", "have"),
        ("does", "do"),
        ("plays", "play"),
    ],
)
def test_third_persons(form, base):
    assert BASE_OF_THIRD_PERSON[form] == base


@pytest.mark.parametrize(
    "form",
    "installing setting making lying seeing being formatting debugging scanning occurring omitting preferring"
    " visiting opening entering copying playing fixing showing stopping reading quitting".split(),
)
def test_gerunds(form):
    assert form in GERUNDS


def test_forms_are_of_one_verb_each():
    assert len(GERUNDS) == len(VERBS) == len(BASE_OF_THIRD_PERSON) + 1  # all but "be"


def test_a_base_form_may_begin_anew():
    assert is_base_form("install") and is_base_form("reinstall") and is_base_form("re-run")
    assert not is_base_form("installs") and not is_base_form("the") and not is_base_form("")
