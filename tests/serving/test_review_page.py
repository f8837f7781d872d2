"""A reviewer's path through `/review`, in headless Chromium: keys, touch-sized buttons, marks, two people."""

import shutil

import pytest
from data import little_world

from rag_ft.questions.records import read_questions, write_questions
from rag_ft.questions.review import Review, verdict_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's chromium and chromium-driver",
    ),
]

SELECT = """
const passage = document.querySelector("#passages blockquote");
const walker = document.createTreeWalker(passage, NodeFilter.SHOW_TEXT);
const range = document.createRange();
for (let node; (node = walker.nextNode()); ) {
  const at = node.textContent.indexOf(arguments[0]);
  if (at >= 0) { range.setStart(node, at); range.setEnd(node, at + arguments[0].length); }
}
getSelection().removeAllRanges();
getSelection().addRange(range);
"""


def find(driver, selector):
    return driver.find_element("css selector", selector)


def wait(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 60).until(condition)


def press(driver, key):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(key).perform()


def showing(driver, words):
    wait(driver, lambda d: words in find(d, "#title").text)


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "qa.jsonl"
    write_questions(little_world(2)[1], path)
    return path


@pytest.fixture
def client(serve, records):
    return serve(review=records)


def kept(records, name=""):
    review = Review(verdict_path(records, name), read_questions(records))
    return [(given := review.verdict(question.id)) and given.verdict for question in review.questions]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_each_verdict_has_a_key(client, records, browser, width, dark):
    driver = browser(width, 844, f"{client.base_url}/review", dark)
    showing(driver, "How high is the tower of Oslo?")
    assert find(driver, "#passages mark").text == "100 metres"
    press(driver, "a")
    showing(driver, "When was the tower of Oslo built?")
    press(driver, "r")
    wait(driver, lambda d: "2 of 6 records judged: 1 accepted (50%)" in find(d, "#progress-text").text)
    press(driver, "u")
    showing(driver, "When was")
    press(driver, "n")
    wait(driver, lambda d: "Noted as unanswerable." in find(d, "#status").text)
    assert kept(records)[:3] == ["accept", "no answer", None]
    assert driver.switch_to.active_element.get_attribute("id") == "title"  # a screen reader says the new question
    for key in "sss s":
        press(driver, key)
        wait(driver, lambda d: find(d, "#actions button").is_enabled())
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    small = [b.text for b in driver.find_elements("css selector", "#actions button") if b.rect["height"] < 44]
    assert small == []
    nameless = driver.execute_script(
        "return [...document.querySelectorAll('input,select,textarea,button')].filter(e =>"
        " !(e.labels && e.labels.length) && !e.textContent.trim() && !e.getAttribute('aria-label')).map(e => e.id)"
    )
    assert nameless == []
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_selected_words_become_the_answer_and_the_wording_is_edited(client, records, browser):
    driver = browser(1280, 900, f"{client.base_url}/review")
    showing(driver, "How high")
    driver.execute_script(SELECT, "guild of")
    wait(driver, lambda d: find(d, "#edit").is_displayed())
    assert find(driver, "#passages mark").text == "guild of"
    find(driver, "[aria-label='End one word later']").click()
    assert find(driver, "#marked").text == "Answer: “guild of masons”"
    words = find(driver, "#words")
    words.clear()
    words.send_keys("Who built it, a or r?\n")  # letters in a field are no verdicts
    showing(driver, "When was")
    edited = Review(verdict_path(records), read_questions(records)).kept()[0]
    assert (edited.question, edited.answers) == ("Who built it, a or r?", ("guild of masons",))
    press(driver, "e")
    wait(driver, lambda d: find(d, "#edit").is_displayed())
    press(driver, "\ue00c")  # Escape
    wait(driver, lambda d: not find(d, "#edit").is_displayed())
    assert find(driver, "#passages mark").text == "1900" and kept(records)[1] is None
    press(driver, "e")
    find(driver, "[aria-label='Start one word earlier']").click()
    press(driver, "m")
    wait(driver, lambda d: find(d, "#passages mark").text == "in 1900")
    find(driver, "#keep").click()
    wait(driver, lambda d: kept(records)[1] == "edit")


def test_a_name_is_kept_and_keys_can_be_turned_off(client, records, browser):
    driver = browser(390, 844, f"{client.base_url}/review")
    showing(driver, "How high")
    find(driver, "#name-box summary").click()
    find(driver, "#name").send_keys("ann\n")
    wait(driver, lambda d: "You review as ann." in find(d, "#status").text)
    press(driver, "a")
    showing(driver, "When was")
    assert kept(records, "ann")[0] == "accept" and kept(records)[0] is None
    driver.refresh()
    showing(driver, "When was")
    find(driver, "#keys").click()
    press(driver, "a")
    driver.execute_script("document.getElementById('title').focus()")
    press(driver, "r")
    assert kept(records, "ann")[1] is None
    find(driver, "#actions button").click()
    wait(driver, lambda d: kept(records, "ann")[1] == "accept")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_says_how_far_two_people_agree(client, records, browser, width, dark):
    ben = Review(verdict_path(records, "ben"), read_questions(records))
    for question, verdict in zip(ben.questions, ("accept", "reject", "reject"), strict=False):
        ben.give(question, verdict)
    driver = browser(width, 844, f"{client.base_url}/review", dark)
    showing(driver, "How high")
    assert not find(driver, "#agreement").is_displayed()
    for key, title in (("a", "When was"), ("a", "Who"), ("r", "")):
        press(driver, key)
        showing(driver, title)
    line = "ben: 3 records judged by both, 2 the same (67%); Cohen's kappa 0.40"
    wait(driver, lambda d: find(d, "#agreement-list").text == line)
    assert find(driver, "#agreement").is_displayed()
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_of_two_tabs_the_second_is_told_and_shown_the_record_again(client, records, browser):
    first, second = (browser(1000, 800, f"{client.base_url}/review") for _ in range(2))
    for driver in (first, second):
        showing(driver, "How high")
    press(first, "a")
    showing(first, "When was")
    press(second, "r")
    wait(second, lambda d: "somebody has judged" in find(d, "#failure").text)
    showing(second, "When was")
    assert kept(records)[:2] == ["accept", None]


def test_markup_in_a_record_stays_text(client, records, browser):
    (first, *rest) = read_questions(records)
    write_questions([first.model_copy(update={"question": "<img src=x onerror=alert(1)> high?"}), *rest], records)
    driver = browser(1000, 800, f"{client.base_url}/review")
    showing(driver, "<img src=x onerror=alert(1)> high?")
    assert driver.find_elements("css selector", "main img") == []


def test_a_server_with_a_token_asks_for_it(serve, records, browser):
    address = serve(review=records, token="a-token-of-enough-letters").base_url
    driver = browser(400, 800, f"{address}/review")
    wait(driver, lambda d: find(d, "#token-form").is_displayed())
    find(driver, "#token").send_keys("a-token-of-enough-letters\n")
    showing(driver, "How high")
    find(driver, "header a").click()
    wait(driver, lambda d: find(d, "#review").is_displayed())  # the way back
