import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_ft.text.spans import candidate_spans


def texts(text: str, **settings: int) -> list[str]:
    return [text[start:end] for start, end in candidate_spans(text, [(0, len(text))], **settings)]


def test_spans_are_whole_words_without_the_sentence_end():
    assert texts("Rank 16, then.") == ["Rank", "Rank 16", "Rank 16, then", "16", "16, then", "then"]


def test_numbers_hyphens_and_dotted_names_are_not_cut():
    found = texts("low-rank 131,072 and 3.5 or faiss.Index")
    assert {"low-rank", "131,072", "3.5", "faiss.Index"} <= set(found)
    assert not {"low", "131", "072", "3", "faiss", "Index"} & set(found)


@pytest.mark.parametrize("word", ["हिन्दी", "தமிழ்", "cafe\u0301s", "كِتَاب", "می\u200cخواهم", "שָׁלוֹם", "ที่นี่", "မြန်မာ"])
def test_a_word_is_not_cut_at_its_vowel_signs(word):
    assert texts(f"{word} 5") == [word, f"{word} 5", "5"]


def test_symbols_that_belong_to_a_word_may_begin_and_end_a_span():
    found = texts("It cost $5 or 40% more")
    assert {"$5", "40%", "$5 or 40%"} <= set(found)
    assert not {"$", "%"} & set(found)


def test_a_unit_belongs_to_its_number_also_with_a_blank_between():
    assert {"99.95 %", "25 °", "€ 140", "140 €", "20€", "5 ¥"} <= set(
        texts("99.95 % and 25 ° or € 140 or 140 € or 20€ or 5 ¥ here")
    )
    assert not {"%", "€", "and 25 ° or €", "or €"} & set(texts("99.95 % and 25 ° or € 140"))
    assert "more %" not in texts("more % of it") and "$ more" not in texts("$ more of it")


def test_the_label_of_a_question_or_an_answer_is_no_part_of_one():
    assert texts("A: After three years.") == ["After", "After three", "After three years", *texts("three years.")]
    assert "A" in texts("A or B")


def test_brackets_and_quotes_are_balanced():
    found = texts('the rank (r) of "A and B" here')
    assert {"rank (r)", "(r)", '"A and B"', "r", "A and B"} <= set(found)
    assert not {"r)", "(r", '"A', 'B"', "rank (r"} & set(found)


def test_spans_stay_inside_a_sentence_and_under_the_limit():
    text = "One two. Three four."
    found = [text[s:e] for s, e in candidate_spans(text, [(0, 8), (9, 20)])]
    assert "One two" in found and "Three four" in found
    assert not any("two. Three" in span for span in found)
    assert all(len(span) <= 7 for span in texts("aaa bbb ccc ddd", max_chars=7))
    assert texts("a" * 50, max_chars=7) == ["a" * 50]


def test_an_abbreviations_full_stop_may_end_a_span():
    assert "the U.S." in texts("in the U.S. today.")


def test_chinese_punctuation_neither_begins_nor_ends_a_span():
    assert texts("他生于1998年，现在住在北京。") == ["他生于1998年", "他生于1998年，现在住在北京", "现在住在北京"]
    assert texts("《红楼梦》：「好」！") == ["《红楼梦》", "《红楼梦》：「好」", "红楼梦", "「好」", "好"]
    assert texts("（三）、【四】？") == ["（三）", "（三）、【四】", "三", "【四】", "四"]


def test_commas_and_stops_of_arabic_and_hindi_neither_begin_nor_end_a_span():
    assert texts("نعم، لا؟") == ["نعم", "نعم، لا", "لا"]
    assert texts("यह घर। वह") == ["यह", "यह घर", "यह घर। वह", "घर", "घर। वह", "वह"]


@example("1,1a")
@given(st.text(st.sampled_from("ab1.,-(\"')é日$% \n"), max_size=60))
def test_spans_are_ordered_unique_and_begin_and_end_on_visible_characters(text):
    spans = candidate_spans(text, [(0, len(text))])
    assert spans == sorted(set(spans))
    for start, end in spans:
        assert not text[start].isspace() and not text[end - 1].isspace()
        for edge in (start, end):
            if 0 < edge < len(text):
                assert not (text[edge - 1].isalnum() and text[edge].isalnum())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is written in F# by us.", "F#"),
        ("It runs on .NET today.", ".NET"),
        ("Copy .gitignore, then go.", ".gitignore"),
        ("It holds for r > .25 only.", "> .25"),
        ("See %TEMP%\\log\\a.txt first.", "%TEMP%\\log\\a.txt"),
        ("Open %HOME% now.", "%HOME%"),
        ("Type :wq! to leave.", ":wq!"),
        ("It listens on (:9000) here.", ":9000"),
        ('A 19" rack and a 5" disk.', '19"'),
        ("Use --dry-run here.", "--dry-run"),
        ("E. Nesbit wrote it.", "E. Nesbit"),
        ("F. Scott was late.", "F. Scott"),
        ("They moved to Washington, D.C.", "Washington, D.C."),
        ("It was sold to Quay Inc.", "Quay Inc."),
        ("It opens at 6 a.m.", "6 a.m."),
        ("Set $PATH and ~/.bashrc again.", "$PATH"),
        ("The rule is § 7 here.", "§ 7"),
    ],
)
def test_names_of_systems_and_abbreviations_may_be_answers(text, answer):
    assert answer in texts(text)


def test_a_languages_name_is_not_cut_and_a_quotation_closes_after_a_number():
    assert "C" not in texts("We use C# and C++ here") and "C++" in texts("We use C# and C++ here")
    assert '"rule 5"' in texts('the "rule 5" here') and 'rule 5"' not in texts('the "rule 5" here')
    assert texts("It is over.") == ["It", "It is", "It is over", "is", "is over", "over"]


def test_a_letter_before_a_stop_is_a_label_where_the_text_has_questions_and_answers():
    text = "Q. How long?\nA. Three years."
    spans = [text[start:end] for start, end in candidate_spans(text, [(0, 12), (13, len(text))])]
    assert "Three years" in spans and "A. Three years" not in spans
