import pytest

from rag_ft.indexing.parsing.wire import FrameError, blocks_in
from rag_ft.schema import Block


def test_blocks_within_the_text_are_taken():
    spans = ((0, 2, "code"), (2, 4, "list"))
    assert blocks_in("abcd", spans) == (Block(start=0, end=2, kind="code"), Block(start=2, end=4, kind="list"))


@pytest.mark.parametrize(
    "spans", [((0, 5, "code"),), ((2, 2, "code"),), ((3, 2, "code"),), ((0, 2, "code"), (1, 3, "list"))]
)
def test_blocks_outside_the_text_or_overlapping_are_refused(spans):
    with pytest.raises(FrameError, match="a block outside the text"):
        blocks_in("abcd", spans)
