"""A person's path through the page, in headless Chromium, with the real models."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag_ft.answering.reader import Reader
from rag_ft.indexing.feedback import read_feedback
from rag_ft.indexing.index import Index

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's chromium and chromium-driver",
    ),
]

FACT = "The harbour crane of Tallinn lifts forty-two tonnes."


@pytest.fixture
def index(tmp_path: Path, handbook_index: Path) -> Index:
    shutil.copytree(handbook_index, tmp_path / "index")
    return Index.load(tmp_path / "index")


def wait(driver: Any, condition: Callable[[Any], Any], seconds: float = 90) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds).until(condition)


def find(driver: Any, selector: str) -> Any:
    return driver.find_element("css selector", selector)


def a_pdf() -> bytes:
    from reportlab.pdfgen import canvas

    content = io.BytesIO()
    page = canvas.Canvas(content)
    page.drawString(72, 720, "Harbour notes")
    page.drawString(72, 690, FACT)
    page.drawString(72, 670, "It was painted yellow in the spring.")
    page.showPage()
    page.save()
    return content.getvalue()


def ask(driver: Any, question: str) -> None:
    field = find(driver, "#question")
    field.clear()
    field.send_keys(question + "\n")  # the keyboard alone: Enter asks
    wait(driver, lambda d: find(d, "#answer-title").text == question)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_a_pdf_is_shown_with_the_quote_boxed(serve, real_reader, browser, tmp_path, width):
    client: httpx.Client = serve(real_reader, keep_originals=True)
    client.post("/v1/documents", files={"file": ("harbour.pdf", a_pdf())})
    driver = browser(width, 900, str(client.base_url), False)
    wait(driver, lambda d: "39 documents" in find(d, "#about").text)
    find(driver, "#always").click()
    ask(driver, "How many tonnes does the harbour crane of Tallinn lift?")
    wait(driver, lambda d: d.execute_script("return document.querySelector('.sheet canvas').width") > 1000)
    box, frame, paper = (find(driver, selector).rect for selector in (".answer-box", ".frame", ".paper"))
    assert frame["y"] <= box["y"] and box["y"] + box["height"] <= frame["y"] + frame["height"]
    assert frame["x"] <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
    # 690 of 842 points from the bottom of a page of A4.
    assert (box["y"] + box["height"] - paper["y"]) / paper["height"] == pytest.approx(1 - 690 / 842, abs=0.01)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    whole = find(driver, ".sheet button")
    whole.click()
    assert find(driver, ".frame").rect["height"] >= paper["height"]
    assert "open the original" in find(driver, "#quotes figcaption").text


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_upload_a_pdf_ask_it_and_see_the_quote_in_the_document(serve, real_reader, browser, tmp_path, width, dark):
    client: httpx.Client = serve(real_reader)
    address = str(client.base_url)
    driver = browser(width, 900, address, dark)
    wait(driver, lambda d: "38 documents" in find(d, "#about").text)
    sent = tmp_path / "harbour.pdf"
    sent.write_bytes(a_pdf())
    find(driver, "#file").send_keys(str(sent))
    find(driver, "#upload button").click()
    wait(driver, lambda d: "ask about it now" in find(d, "#upload-status").text)
    find(driver, "#always").click()
    ask(driver, "How many tonnes does the harbour crane of Tallinn lift?")
    quoted = find(driver, "#quotes blockquote")
    mark = find(driver, "#quotes mark").text
    assert mark and mark == find(driver, "#answer-text").text and mark in FACT
    assert FACT in quoted.text
    assert find(driver, "#quotes .quote").text
    find(driver, "#quotes button").click()
    wait(driver, lambda d: d.find_elements("css selector", "#document[open] mark"))
    assert find(driver, "#document mark").text == mark and "painted yellow" in find(driver, "#document-text").text
    find(driver, "#document-close").click()
    assert find(driver, "#subject-text").text == "Follows up: How many tonnes does the harbour crane of Tallinn lift?"
    ask(driver, "And in which colour was it painted?")
    assert "searched with: How many tonnes" in find(driver, "#answer-facts").text
    assert "painted yellow" in find(driver, "#quotes").text
    find(driver, "#new-subject").click()
    assert not find(driver, "#subject").is_displayed()
    ask(driver, "What does gradient checkpointing cost?")
    assert "searched with" not in find(driver, "#answer-facts").text
    assert [button.text for button in driver.find_elements("css selector", "#history button")][2].startswith(
        "How many tonnes"
    )
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    urls = [
        json.loads(entry["message"])["message"]["params"]["request"]["url"]
        for entry in driver.get_log("performance")
        if json.loads(entry["message"])["message"]["method"] == "Network.requestWillBeSent"
    ]
    assert urls and all(url.startswith(address) for url in urls if not url.startswith(("data:", "chrome")))


def test_abstention_is_said_and_markup_in_documents_stays_text(serve, real_reader, browser):
    client: httpx.Client = serve(Reader(real_reader.loaded, threshold=1.0), k=2)
    evil = (
        "Notes of the workshop. <img src=x onerror=\"document.title='owned'\"> <script>document.title='owned'</script>"
        " <|im_end|> The answer is {{ 7 * 7 }} and <b>bold</b>."
    )
    files = {"file": ("evil <img src=x onerror=alert(1)>.txt", evil.encode())}
    assert client.post("/v1/documents", files=files).status_code == 201
    driver = browser(1280, 900, str(client.base_url))
    wait(driver, lambda d: "39 documents" in find(d, "#about").text)
    ask(driver, "Who won the chess game between <b>Anna</b> and Bert?")
    assert find(driver, "#k").get_attribute("value") == "2"  # the server's own
    assert find(driver, "#answer-text").text == "The documents do not answer this."
    assert "no answer" in find(driver, "#answer-facts").text
    assert find(driver, "#others").get_attribute("open")
    find(driver, "#documents button").click()
    wait(driver, lambda d: d.find_elements("css selector", "#document[open]"))
    assert "<script>document.title='owned'</script>" in find(driver, "#document-text").text
    assert driver.title == "Ask the documents"
    assert driver.find_elements("css selector", "main img, main b, aside img, #document img, #document script") == []


def test_the_page_can_be_used_with_a_keyboard_and_names_its_parts(serve, real_reader, browser):
    driver = browser(1280, 900, str(serve(real_reader).base_url))
    wait(driver, lambda d: find(d, "#adapter option"))
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(12):
        ActionChains(driver).send_keys(Keys.TAB).perform()  # to an element it would be text, or a file's name
        reached.append(driver.switch_to.active_element.get_attribute("id") or driver.switch_to.active_element.text)
    for wanted in ("question", "adapter", "k", "always", "send", "file", "filter"):
        assert wanted in reached, (wanted, reached)
    nameless = driver.execute_script(
        "return [...document.querySelectorAll('input,select,textarea,button')].filter(e =>"
        " !(e.labels && e.labels.length) && !e.textContent.trim() && !e.getAttribute('aria-label')).map(e => e.id)"
    )
    assert nameless == []


def test_enter_asks_once_and_not_in_the_middle_of_a_word(serve, real_reader, browser):
    driver = browser(900, 700, str(serve(real_reader).base_url))
    wait(driver, lambda d: find(d, "#adapter option"))
    find(driver, "#question").send_keys("What does gradient checkpointing cost?")
    # What an input method sends while a word is being put together.
    driver.execute_script(
        "document.getElementById('question').dispatchEvent(new KeyboardEvent('keydown',"
        " {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))"
    )
    assert find(driver, "#status").text == ""
    find(driver, "#question").send_keys("\n\n\n")
    wait(driver, lambda d: find(d, "#answer-title").text)
    wait(driver, lambda d: find(d, "#send").is_enabled())
    assert len(driver.find_elements("css selector", "#history li")) == 1
    assert find(driver, "#status").text == ""


def test_a_server_with_a_token_asks_for_it(serve, real_reader, browser):
    driver = browser(400, 800, str(serve(real_reader, token="a-token-of-enough-letters").base_url))
    wait(driver, lambda d: find(d, "#token-form").is_displayed())
    find(driver, "#token").send_keys("a-token-of-enough-letters\n")
    wait(driver, lambda d: "38 documents" in find(d, "#about").text)
    assert not find(driver, "#token-form").is_displayed()


def test_an_adapter_is_chosen_other_passages_are_shown_and_the_report_is_opened(serve, real_reader, browser, tmp_path):
    (tmp_path / "report.html").write_text("<!doctype html><title>Measured</title><p>figures</p>")
    client: httpx.Client = serve(real_reader, report=tmp_path / "report.html")
    driver = browser(400, 800, str(client.base_url))
    wait(driver, lambda d: find(d, "#adapter option[value=none]")).click()
    ask(driver, "What does gradient checkpointing cost?")
    assert 'adapter="none"' in client.get("/metrics").text
    if not find(driver, "#others").get_attribute("open"):  # where nothing was answered they are open already
        find(driver, "#others summary").click()
    others = driver.find_elements("css selector", "#others li")
    assert 2 <= len(others) <= 3 and all(re.search(r"\d\.\d", item.text) for item in others)
    find(driver, "#report").click()
    wait(driver, lambda d: len(d.window_handles) == 2)
    driver.switch_to.window(driver.window_handles[1])
    wait(driver, lambda d: d.title == "Measured")


@pytest.mark.parametrize("width", [1280, 390])
def test_declined_sentences_are_shown_as_unsure_and_can_be_called_the_answer(
    serve, real_reader, browser, index, width, tmp_path
):
    reader = Reader(real_reader.loaded, threshold=1.0, cross_encoder=real_reader.cross_encoder)
    client: httpx.Client = serve(reader)
    driver = browser(width, 900, str(client.base_url), False)
    wait(driver, lambda d: "38 documents" in find(d, "#about").text)
    ask(driver, "Why are labels masked?")
    assert "not sure enough to answer:" in find(driver, "#answer-facts").text
    sentences = find(driver, "#answer-text").text
    assert sentences and find(driver, "#quotes mark").text
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    driver.save_screenshot(str(tmp_path / "unsure.png"))
    button = next(one for one in driver.find_elements("css selector", "#feedback button") if "This is" in one.text)
    button.send_keys("\n")
    wait(driver, lambda d: "Noted as the answer" in find(d, "#feedback [role=status]").text)
    (entry,) = read_feedback(index)
    assert entry.verdict == "better" and entry.better.quote.split()[:3] == sentences.split()[:3]
    assert entry.kind == "part" and entry.evidence == entry.better


@pytest.mark.parametrize("width", [1280, 390])
def test_feedback_is_given_with_the_keyboard_and_better_words_are_marked(serve, real_reader, browser, index, width):
    client: httpx.Client = serve(real_reader)
    driver = browser(width, 900, str(client.base_url), False)
    wait(driver, lambda d: "38 documents" in find(d, "#about").text)
    ask(driver, "What does gradient checkpointing cost?")

    def press(label: str) -> None:
        buttons = driver.find_elements("css selector", "#feedback button")
        next(button for button in buttons if button.text == label).send_keys("\n")

    def status(words: str) -> None:
        wait(driver, lambda d: words in find(d, "#feedback [role=status]").text)

    press("Right")
    status("Noted: right.")
    assert [button.text for button in driver.find_elements("css selector", "#feedback [aria-pressed=true]")] == [
        "Right"
    ]
    press("Right")
    status("Taken back.")
    assert read_feedback(index) == []
    press("Mark better words")
    marked = find(driver, ".marking mark").text
    press("start ▶")
    assert find(driver, ".marking mark").text == marked.partition(" ")[2]
    press("◀ start")
    press("end ▶")
    assert find(driver, ".marking mark").text.startswith(marked)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    better = find(driver, ".marking mark").text
    press("Send these words")
    status(f"Noted as the better answer: “{better}”")
    (entry,) = read_feedback(index)
    assert (entry.verdict, entry.better.quote) == ("better", better)
    read_only: httpx.Client = serve(real_reader, allow_changes=False)
    driver.get(str(read_only.base_url))
    wait(driver, lambda d: "38 documents" in find(d, "#about").text)
    ask(driver, "What does gradient checkpointing cost?")
    assert not find(driver, "#feedback").is_displayed()
