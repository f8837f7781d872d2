"""Any bytes give documents within the limits or a reason in words, and never end the process that reads."""

import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from indexing.formats.fuzzing import CORPUS, KINDS, LIMITS, PARSERS, Change, changed, read, seeds

from rag_ft.indexing.parsing.worker import Worker

# For hours there is benchmarks/attacks/fuzz.py, which keeps what it finds.
EXAMPLES = int(os.environ.get("RAG_FT_FUZZ_EXAMPLES", "25"))

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
numbers = st.integers(0, 2**16)
changes = st.lists(st.builds(Change, st.integers(0, KINDS * 29), numbers, numbers, numbers), max_size=6)


@pytest.fixture(scope="module")
def worker():
    with Worker(LIMITS) as process:
        yield process


@pytest.mark.parametrize("parser", PARSERS)
def test_a_good_file_that_was_changed_is_read_or_refused_in_words(parser, worker):
    assert any(answer.reply.kind == "document" for answer in read(worker, parser, seeds(parser)[0]))

    @fuzzed
    @given(st.integers(0, 3), changes)
    def try_it(seed, made):
        read(worker, parser, changed(parser, seed, made))

    try_it()


@pytest.mark.parametrize("parser", PARSERS)
def test_any_bytes_are_read_or_refused_in_words(parser, worker):
    @fuzzed
    @given(st.binary(max_size=300))
    @example(b"")
    @example(b"\xff\xfe")
    def try_it(data):
        read(worker, parser, data)

    try_it()


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.*")), ids=lambda path: path.name)
def test_what_once_failed_is_read_or_refused_in_words(path, worker):
    read(worker, path.suffix[1:], path.read_bytes())
