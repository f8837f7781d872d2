import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.answering.forward.prefix_cache import PrefixCache


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40))), st.integers(0, 60))
def test_it_keeps_the_latest_parts_that_fit_and_never_more(puts, room):
    cache = PrefixCache(room * 4)
    used: list[int] = []  # names, least recently used first
    sizes: dict[int, int] = {}
    for name, size in puts:
        cache.put(name, torch.zeros(size))
        used = [one for one in used if one != name]
        sizes.pop(name, None)
        if size <= room:
            used.append(name)
            sizes[name] = size
        while sum(sizes.values()) > room:
            sizes.pop(used.pop(0))
        assert cache.bytes == 4 * sum(sizes.values()) <= cache.max_bytes
        assert len(cache) == len(used)
    for name in range(6):
        found = cache.get(name)
        assert (None if found is None else len(found)) == sizes.get(name)


def test_what_was_asked_for_last_stays_longest():
    cache = PrefixCache(8)
    cache.put("a", torch.zeros(1))
    cache.put("b", torch.zeros(1))
    cache.get("a")
    cache.put("c", torch.zeros(1))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert (cache.hits, cache.misses) == (2, 1)
