import base64
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from readers_of_records import OUT, decided, half, other_half, right, wrong

from rag_ft.adapting.judge import BEFORE, BEFORE_HERE, PROMPTED, TUNED
from rag_ft.adapting.next_steps import passages_to_mend, records_to_look_at
from rag_ft.adapting.page import verdict_json, verdict_page
from rag_ft.adapting.verdict import Advised


def test_the_page_says_the_verdict_first_and_how_to_ask(compare):
    compared = compare({TUNED: half, BEFORE: other_half, PROMPTED: wrong})
    verdict = decided(compared)
    page = verdict_page(verdict, compared.results, ["80 records"])
    body = page.partition("<body>")[2]
    assert body.index(verdict.headline) < body.index(verdict.command) < body.index("What to do next")
    assert "80 records" in body and "prompted instead" in body and 'name="generator" content="rag_ft"' in page


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(compare):
    compared = compare({TUNED: right, BEFORE: wrong})
    page = verdict_page(decided(compared), compared.results, [])
    assert "default-src 'none'" in page and "<script" not in page and not re.search(r"(src|href)=\"https?:", page)


def test_text_of_documents_is_text(compare):
    compared = compare({TUNED: right, BEFORE: wrong})
    verdict = replace(decided(compared), label=(("q", "<script>alert(1)</script>", ()),))
    assert "&lt;script&gt;alert(1)" in verdict_page(verdict, compared.results, [])


def test_the_json_has_the_verdict_without_paths_of_this_machine(compare):
    verdict = decided(compare({TUNED: right, BEFORE: wrong}))
    content = json.loads(verdict_json(verdict))
    assert content["worth_it"] is True and content["chosen"] == "adapter" and content["difference"] == 1
    assert content["f1"]["after tuning"]["mean"] == 1 and content["interval"][0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window(compare, browser, tmp_path, width):
    def some_made(record):
        return record.model_copy(update={"origin": "made"}) if record.id.endswith(("1", "2", "sold")) else record

    answers = {TUNED: half, BEFORE: other_half, BEFORE_HERE: wrong, PROMPTED: wrong}
    compared = compare(answers, some_made)
    picks = records_to_look_at(compared.replies, compared.questions, compared.results.settings, compared.index)
    advised = Advised(
        passages_to_mend({passage.id: 5 for passage in compared.index.passages()}, compared.index),
        [(pick.question.id, pick.question.question, pick.reasons) for pick in picks],
        OUT / "label.jsonl",
        ["a-very-long-name/of-a-document/without-any-space-where-a-line-could-end.md"],
    )
    path = tmp_path / "verdict.html"
    path.write_text(verdict_page(decided(compared, advised), compared.results, ["80 records", "versions: torch 2"]))
    driver = browser(width, 900, path.as_uri())
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert driver.find_element("tag name", "h1").is_displayed()
    bar = driver.find_element("css selector", ".span").rect
    track = driver.find_element("css selector", ".track").rect
    assert track["x"] <= bar["x"] and bar["x"] + bar["width"] <= track["x"] + track["width"]
    if folder := os.environ.get("RAG_FT_SCREENSHOTS"):
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        (Path(folder) / f"verdict-{width}.png").write_bytes(base64.b64decode(shot["data"]))
