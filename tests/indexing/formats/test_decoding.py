import pytest

from rag_ft.indexing.formats import extract

WESTERN = [
    "Müller\n",
    "The subscription costs €49 – billed “monthly”",
    "El niño comió una piña en la montaña. ¿Cuándo llegó?",
    "La réunion a été déplacée à l’été prochain, où nous déciderons.",
    "A decisão não foi tomada; a reunião é amanhã às três.",
    "Ett möte på lördag är för sent, så vi träffas på fredag.",
    "Rød grød med fløde på ærter",
    "ÜBER UNS: ÄNDERUNGEN",
    "Müller, François, Núñez und Ångström trafen sich in São Paulo",
    "caf\xe9",
    "§ 5, 20 °C ± 2°, 25 % für 3 Jahre – ab 10 €",
    "word " * 30_000 + "und über",
]


@pytest.mark.parametrize("text", WESTERN, ids=lambda text: text[-20:])
def test_a_short_western_text_is_read_as_one(text):
    found = extract("a.txt", text.encode("cp1252"))
    assert (found.text, found.metadata) == (text, {"encoding": "cp1252"})


RUSSIAN = "Заседание состоится в четверг в десять часов. Просим всех прийти вовремя и принести отчёты за прошлый месяц."
GREEK = "Η συνεδρίαση θα γίνει την Πέμπτη στις δέκα. Παρακαλούμε όλους τους υπαλλήλους να έρθουν εγκαίρως."
JAPANESE = "会議は木曜日の十時に行われます。全員、時間通りに来てください。先月の報告書も持ってきてください。"
CHINESE = "会议将于星期四上午十点举行。请所有员工准时参加，并带上上个月的报告。谢谢大家的合作。"
CZECH = "Příští schůzka je ve čtvrtek v deset hodin. Prosíme, přijďte včas a přineste zprávu za minulý měsíc."
POLISH = "Następne spotkanie odbędzie się w środę o dziesiątej w Łodzi. Prosimy przynieść sprawozdanie."
TURKISH = "Toplantı yarın saat üçte yapılacak, lütfen geç kalmayın. Şirketin kârı arttı."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        (GREEK, "iso8859-7"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        (CHINESE, "gb18030"),
        (CZECH, "cp1250"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
        (TURKISH, "cp1254"),
        ("Müller fährt über die Brücke, weil sie größer ist.", "cp850"),
        ("Müller fährt über die Brücke, weil sie größer ist.", "mac-roman"),
    ],
)
def test_other_scripts_and_languages_are_told_from_western_ones(text, encoding):
    assert extract("a.txt", text.encode(encoding)).text == text


@pytest.mark.parametrize("name", ["a.md", "a.html"])
def test_a_guessed_encoding_is_noted_for_marked_up_text_too(name):
    found = extract(name, "<p>Müller & Söhne</p>".encode("cp1252"))
    assert (found.text, found.metadata) == ("Müller & Söhne", {"encoding": "cp1252"})


@pytest.mark.parametrize(("declared", "real"), [("iso-8859-1", "cp1252"), ("iso-8859-1", "utf-8"), ("utf-16", "utf-8")])
def test_the_encoding_that_a_page_says_is_read_as_browsers_do(declared, real):
    page = f"<meta charset={declared}><p>Only €5 – “für alle”</p>"
    found = extract("a.html", page.encode(real))
    assert (found.text, found.metadata) == ("Only €5 – “für alle”", {})


@pytest.mark.parametrize("declared", ["undefined", "punycode", "unicode_escape", "no-such-one"])
def test_an_encoding_that_no_browser_knows_is_left_aside(declared):
    found = extract("a.html", f"<meta charset={declared}><p>C:\\new only €5</p>".encode())
    assert found.text == "C:\\new only €5"


def test_a_wrong_byte_in_utf8_does_not_turn_all_letters_into_others():
    found = extract("a.txt", ("Müller fährt über die Brücke. " * 20).encode() + b"\xff")
    assert found.text.startswith("Müller fährt über die Brücke. ") and found.metadata == {
        "encoding": "utf-8 with errors"
    }


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("The café’s log says 3".encode() + b"\xbd days.", "The café’s log says 3\ufffd days."),
        ("Ein großer Kran".encode() + b"\xff", "Ein großer Kran\ufffd"),
        ("Zoë and Zoë".encode()[:-1], "Zoë and Zo\ufffd"),
        ("\ufeffZoë".encode() + b"\xff", "Zoë\ufffd"),
    ],
)
def test_one_wrong_byte_or_a_cut_end_is_replaced_and_told(data, text):
    found = extract("a.txt", data)
    assert found.text == text and found.metadata["encoding"].endswith("with errors")


def test_quotes_and_letters_of_another_encoding_are_no_proof_of_utf8():
    assert extract("a.txt", "“Spaß”".encode("cp1252")).text == "“Spaß”"


def test_a_page_that_names_a_wrong_encoding_is_read_as_utf8_with_errors():
    page = "<meta charset=iso-8859-1><p>Größe, Öl, Zoë".encode() + b"\xff"
    assert extract("a.html", page).text == "Größe, Öl, Zoë\ufffd"
