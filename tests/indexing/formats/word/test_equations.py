import pytest
from indexing.formats.word.packing import paragraph, text


def r(content):
    return f"<m:r><m:t>{content}</m:t></m:r>"


def part(name, *inside, about=""):
    return f"<m:{name}>{about}{''.join(f'<m:{key}>{value}</m:{key}>' for key, value in inside)}</m:{name}>"


def about(kind, **values):
    return f"<m:{kind}>" + "".join(f'<m:{key} m:val="{value}"/>' for key, value in values.items()) + f"</m:{kind}>"


SQUARE = part("sSup", ("e", r("x")), ("sup", r("2")))


@pytest.mark.parametrize(
    ("equation", "shown"),
    [
        (part("f", ("num", r("a")), ("den", r("b"))), "a/b"),
        (part("f", ("num", r("a+1")), ("den", r("2b-c"))), "(a+1)/(2b-c)"),
        (SQUARE, "x^2"),
        (part("sSubSup", ("e", r("x")), ("sub", r("i")), ("sup", r("n+1"))), "x_i^(n+1)"),
        (part("rad", ("deg", ""), ("e", r("x")), about=about("radPr", degHide=1)), "sqrt(x)"),
        (part("rad", ("deg", r("3")), ("e", r("x"))), "root(3, x)"),
        (
            part("nary", ("sub", r("i=1")), ("sup", r("n")), ("e", SQUARE), about=about("naryPr", chr="∑")),
            "sum_(i=1)^n x^2",
        ),
        (part("nary", ("sub", r("0")), ("sup", r("∞")), ("e", r("f"))), "int_0^∞ f"),
        (part("d", ("e", r("a")), ("e", r("b")), about=about("dPr", begChr="[", endChr="]", sepChr=",")), "[a,b]"),
        (part("func", ("fName", r("sin")), ("e", r("x"))), "sin(x)"),
        (
            part("func", ("fName", part("limLow", ("e", r("lim")), ("lim", r("x→0")))), ("e", r("x"))),
            "lim_(x→0)(x)",
        ),
        (part("acc", ("e", r("x")), about=about("accPr", chr="\u20d7")), "vec(x)"),
        (part("bar", ("e", r("x"))), "bar(x)"),
        (
            "<m:m><m:mr><m:e>" + r("a") + "</m:e><m:e>" + r("b") + "</m:e></m:mr><m:mr><m:e/><m:e/></m:mr></m:m>",
            "a, b; ,",
        ),
        (part("eqArr", ("e", r("a&amp;=1")), ("e", r("b&amp;=2"))), "a=1; b=2"),
        (part("phant", ("e", r("x")), about=about("phantPr", show=0)) + r("y"), "y"),
        (r("2") + part("rad", ("e", r("x"))), "2 sqrt(x)"),
    ],
)
def test_equations_are_written_on_a_line(equation, shown):
    assert text(paragraph("Given ", f"<m:oMath>{equation}</m:oMath>", " here")) == f"Given {shown} here"


def test_a_displayed_equation_and_a_deleted_part():
    deleted = f'<w:del w:id="1">{r("9")}</w:del>'
    assert text(paragraph(f"<m:oMathPara><m:oMath>{r('E=m')}{deleted}{r('c')}</m:oMath></m:oMathPara>")) == "E=mc"
