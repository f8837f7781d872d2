import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.formats.sheets.number_format import BUILT_IN, is_date, shown


@pytest.mark.parametrize(
    ("raw", "code", "text"),
    [
        ("18", "General", "18"),
        ("0.30000000000000004", "General", "0.3"),
        ("4915112345678", "General", "4915112345678"),
        ("1E-3", "General", "0.001"),
        ("0.18", "0%", "18%"),
        ("0.1825", "0.00%", "18.25%"),
        ("1234.5", "#,##0.00", "1,234.50"),
        ("1234.5", '#,##0.00 "EUR"', "1,234.50 EUR"),
        ("1234.5", "#,##0.00\\ [$€-407]", "1,234.50 €"),
        ("18", "[$£-809]#,##0.00", "£18.00"),
        ("-5", "0.0;[Red](0.0)", "(5.0)"),
        ("-5", "0.0", "-5.0"),
        ("0", '0;-0;"none"', "none"),
        ("5", "00000", "00005"),
        ("2.5", "0.##", "2.5"),
        ("2", "0.##", "2"),
        ("2.005", "0.00", "2.01"),
        ("0.5", "#.0", ".5"),
        ("123456789", "000-00-0000", "123-45-6789"),
        ("12500000", '0.0,,"M"', "12.5M"),
        ("1234", "0.00E+00", "1.23E+03"),
        ("46146", "dd.mm.yyyy", "04.05.2026"),
        ("46146", "dd/mm/yy", "04/05/26"),
        ("46146", "[$-409]d mmmm yyyy", "4 May 2026"),
        ("46146", BUILT_IN[14], "2026-05-04"),
        ("46146.75", "yyyy-mm-dd hh:mm", "2026-05-04 18:00"),
        ("46146.75", "h:mm AM/PM", "6:00 PM"),
        ("46146.7504", "hh:mm:ss", "18:00:35"),
        ("1.5", "[h]:mm", "36:00"),
        ("46146", "ddd d mmm", "Mon 4 May"),
        ("1", "yyyy-mm-dd", "1900-01-01"),
        ("7", '0 "pcs"', "7 pcs"),
        ("7", 'General" m"', "7 m"),
        ("7", "@", "7"),
        ("0.5", "# ?/?", "0.5"),
        ("not a number", "0.00", "not a number"),
        ("-1", "yyyy-mm-dd", "-1"),
        ("99999999999", "yyyy-mm-dd", "99999999999"),
    ],
)
def test_numbers_are_written_as_programs_show_them(raw, code, text):
    assert shown(raw, code) == text


def test_dates_may_be_counted_from_1904():
    assert shown("44684", "yyyy-mm-dd", from_1904=True) == "2026-05-04"


def test_formats_of_dates_are_told_from_others():
    assert is_date("dd.mm.yyyy") and is_date("[h]:mm") and not is_date('0.00 "days"') and not is_date("[Red]0")


@given(st.floats(), st.text(st.sampled_from('0#?.,%/E+-;"\\_*[]$hmsydAMP/@ €x'), max_size=15))
def test_any_format_gives_one_line(number, code):
    assert "\n" not in shown(repr(number), code)
