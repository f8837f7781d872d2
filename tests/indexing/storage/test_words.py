from __future__ import annotations

from rag_ft.indexing.storage.words import Words


def test_words_are_lower_case_stems_without_stop_words_and_keep_single_digits():
    terms = Words().of("The Parameters of rank 8, adding naïve CAFÉS")
    assert terms == ["paramet", "rank", "8", "add", "naïv", "café"]


def test_the_former_rules_give_the_former_words():
    assert Words(2).of("getLoads max_load 1,024 cafe\u0301s") == ["getload", "max_load", "1", "024", "cafe", "s"]
