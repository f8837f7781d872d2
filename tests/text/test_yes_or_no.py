import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.text.yes_or_no import begins_with_yes_or_no


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Yes. Set the flag.", True),
        ("**Yes**, since version 2.", True),
        ("Yes you can.", True),
        ("Of course! Open the menu.", True),
        ("Yes", True),
        ("No, it has to be set.", False),
        ("No - it has to be set.", False),
        ("Not yet. It is planned.", False),
        ("Unfortunately, no.", False),
        ("Unfortunately not, because it is slow.", False),
        ("- No.\n- Never.", False),
        ("No other option does this.", None),
        ("No-one knows.", None),
        ("Yesterday it did.", None),
        ("Not every option does this.", None),
        ("Certainly the best option.", None),
        ("Notes are kept.", None),
        ("It does. Yes.", None),
        ("", None),
    ],
)
def test_only_a_text_that_begins_so_says_yes_or_no(text, says):
    assert begins_with_yes_or_no(text) is says


@given(st.text(max_size=40))
def test_any_text_is_read(text):
    assert begins_with_yes_or_no(text) in (True, False, None)
