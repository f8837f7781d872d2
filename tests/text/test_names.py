import pytest

from rag_ft.text.names import name_spans


def names(text):
    return [text[start:end] for start, end in name_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Who did Chopin meet in Paris?", ["Chopin", "Paris"]),
        ("When did Frédéric Chopin leave?", ["Frédéric Chopin"]),
        ("Where is D'Olier Street?", ["D'Olier Street"]),
        ("What did Ögedei Khan rule?", ["Ögedei Khan"]),
        ("What is Beyoncé's album?", ["Beyoncé"]),
        ("Who wrote the Treaty of Rome?", ["Treaty of Rome"]),
        ("The Hudson River flows where?", ["Hudson River"]),
        ("Pandas live where?", []),
        ("What year was To Kill a Mockingbird published?", []),
        ("What does Link morph into in A Link to the Past?", ["Link"]),
        ("why? In July, I think.", ["July"]),
        ("", []),
    ],
)
def test_names_are_runs_of_capitalised_words(text, expected):
    assert names(text) == expected
