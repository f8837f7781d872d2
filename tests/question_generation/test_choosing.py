import itertools
from collections import Counter

import pytest
from scripted_questions import CITIES, build, documents
from tiny_reader import passage

from rag_ft.errors import UsageError
from rag_ft.question_generation.choosing import MOST_ATTEMPTS, TOGETHER, Chooser, checked_shares, what_it_gives
from rag_ft.schema import Document


@pytest.fixture(scope="module")
def passages(tmp_path_factory):
    return list(build(tmp_path_factory.mktemp("choosing") / "index").passages())


def all_batches(passages, seed=0, shares=None):
    chooser = Chooser(passages, seed, checked_shares(shares))
    return list(itertools.takewhile(bool, iter(chooser.next_batch, None)))


def test_every_document_has_its_turn_before_one_has_another(passages):
    requests = list(itertools.chain.from_iterable(all_batches(passages)))
    for first in range(0, len(requests), len(CITIES)):
        turn = requests[first : first + len(CITIES)]
        assert {request.passage.document_id for request in turn} == {f"{city}.txt" for city in CITIES}


def test_a_passage_is_asked_four_times_each_time_with_another_seed(passages):
    batches = all_batches(passages)
    requests = list(itertools.chain.from_iterable(batches))
    assert {len(batch) for batch in batches[:-1]} == {TOGETHER}
    assert set(Counter(request.passage.id for request in requests).values()) == {MOST_ATTEMPTS}
    assert len({(request.passage.id, request.seed) for request in requests}) == len(requests)


def test_equal_seeds_give_equal_requests_and_others_do_not(passages):
    assert all_batches(passages, 3) == all_batches(passages, 3) != all_batches(passages, 4)


def test_kinds_follow_their_shares_as_far_as_passages_give_them(passages):
    requests = list(itertools.chain.from_iterable(all_batches(passages)))[:64]
    counts = Counter(request.asked_for for request in requests)
    assert counts["fact"] > counts["why"] > 0 and counts["whether"] > 0 and counts["list"] == 0
    only = itertools.chain.from_iterable(all_batches(passages, shares={"why": 1}))
    assert {request.asked_for for request in only} == {"why"}


def test_a_kind_that_is_seldom_kept_is_asked_for_more_often(passages):
    def asked(keeps):
        chooser = Chooser(passages, 0, checked_shares({"fact": 1, "why": 1}))
        counts = Counter()
        for _ in range(2):
            for request in chooser.next_batch():
                counts[request.asked_for] += 1
                if request.asked_for in keeps:
                    chooser.kept(request.asked_for)
        return counts

    assert asked({"fact", "why"})["why"] < asked({"fact"})["why"]


def test_copies_of_a_document_are_asked_about_once(tmp_path):
    text = documents(("Oslo",))[0].text
    copies = [Document(id=f"{i}.txt", text=text) for i in range(10)]
    chooser = Chooser(build(tmp_path / "index", copies).passages(), 0, checked_shares(None))
    assert chooser.documents == ("0.txt",)


@pytest.mark.parametrize("kind", ["code", "table", "heading"])
def test_a_passage_without_sentences_gives_nothing(kind):
    text = "The tower of Oslo is a tower."
    assert what_it_gives(passage(text)) == {"fact", "what"}
    assert what_it_gives(passage(text).model_copy(update={"kind": kind})) == frozenset()
    assert what_it_gives(passage("| 1 | 2 |\n| 3 | 4 |")) == frozenset()


def test_wrong_shares_are_one_sentence():
    with pytest.raises(UsageError, match="names 'facts'"):
        checked_shares({"facts": 1})
    for shares in ({}, {"fact": 0}, {"fact": 2, "why": -1}):
        with pytest.raises(UsageError, match="no share above 0, or one below"):
            checked_shares(shares)
