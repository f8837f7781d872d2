"""The report of a real evaluation, in headless Chromium."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's chromium and chromium-driver",
    ),
]

REPORT = Path(__file__).resolve().parents[3] / "evals" / "handbook" / "report.html"


@pytest.mark.parametrize("width", [1280, 400])
def test_it_opens_without_an_error_or_a_request_and_fits_the_width(browser, width):
    driver = browser(width, 900, REPORT.as_uri())
    assert driver.find_element("css selector", "h1").is_displayed()
    assert driver.get_log("browser") == []
    asked = [
        message["params"]["request"]["url"]
        for entry in driver.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert all(address.startswith(("file:", "data:")) for address in asked) and REPORT.as_uri() in asked
    # Wide tables and plots scroll in boxes of their own.
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    pictures = driver.execute_script(
        "return [...document.querySelectorAll('svg, img')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(pictures) >= 3 and all(width > 0 for width in pictures)
