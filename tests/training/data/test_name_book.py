import pytest
from fakes import HashingEmbedder

from rag_ft.schema import Passage
from rag_ft.training.data.name_book import NameBook

TEXTS = [
    "The prize went to Clara Chopin in Old Oslo, and to Clara Liszt in Old Lima.",
    "The prize went to Clara Chopin in Old Oslo again, and to Clara Liszt in Old Lima again.",
    "He saw the Council there. The council met. The council slept. He liked the Council.",
    "She met Once there.",
]


@pytest.fixture
def book():
    passages = [
        Passage(id=f"d#{i}", document_id="d", text=text, start=0, end=len(text)) for i, text in enumerate(TEXTS)
    ]
    return NameBook(passages, MeaningByLength())


class MeaningByLength(HashingEmbedder):
    """Names with as many letters mean something alike, but not the same."""

    def encode_query(self, texts):
        vectors = super().encode_query([f"length{len(text)} length{len(text)} {text}" for text in texts])
        return vectors


def test_a_name_is_like_others_of_its_kind_and_use():
    passages = [
        Passage(id=f"d#{i}", document_id="d", text=text, start=0, end=len(text))
        for i, text in enumerate(["He lived in Oslo, he lived in Lima, he met Anna, he met Lisa."] * 2)
    ]
    passages[1] = passages[1].model_copy(update={"text": passages[1].text + " So."})
    book = NameBook(passages, MeaningByLength())
    assert book.like("Oslo", 5) == ["Lima"]  # a place; Anna and Lisa are met
    assert book.like("Anna", 5) == ["Lisa"]
    assert book.like("oslo", 5) == ["Lima"] and book.like("Ósló", 5) == ["Lima"]


def test_names_that_share_a_word_are_not_alike(book):
    assert book.like("Clara Chopin", 5) == [] and book.like("Old Oslo", 5) == []


def test_what_is_no_name_or_stands_there_once_is_like_nothing(book):
    assert book.like("Council", 5) == [] and book.like("Once", 5) == [] and book.like("Nobody", 5) == []


def test_an_index_without_names_is_no_error():
    assert NameBook([], HashingEmbedder()).like("Oslo", 3) == []
