import json
import re
from dataclasses import replace

from readers_of_records import half, other_half, right, wrong
from test_verdict import decided

from rag_ft.adapting.judge import BEFORE, PROMPTED, TUNED
from rag_ft.adapting.page import verdict_json, verdict_page


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
