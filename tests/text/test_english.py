import pytest

from rag_ft.text.english import seems_english


@pytest.mark.parametrize(
    "text",
    [
        "The reader answers only where its confidence is high enough and the document holds the answer.",
        "- Open the file with the editor.\n- Set the key to on.\n- Save it and restart the server.",
        "Naïve café owners in Zürich have a résumé for the job they want to get.",
        "Rank 16",
        "",
    ],
)
def test_english_and_what_is_too_short_to_say(text):
    assert seems_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "Der Reader beantwortet die Frage nur dann, wenn die Sicherheit hoch genug ist und das Dokument sie enthält.",
        "Le lecteur ne répond que si la confiance est assez haute et le document contient la réponse posée.",
        "Читатель отвечает на вопрос",
        "読者は文書の質問に答えます",
    ],
)
def test_other_languages_by_their_letters_or_their_little_words(text):
    assert not seems_english(text)
