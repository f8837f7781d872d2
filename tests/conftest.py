"""Fixtures that more than one test file uses."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # how long an example takes depends on who else computes
hypothesis.settings.load_profile("untimed")

sys.path.insert(
    0, str(Path(__file__).parent)
)  # importlib mode puts no test folder on the path: `from fakes import ...`

from databases import new_address, postgres  # noqa: E402, F401  fixtures

REPOSITORY = Path(__file__).resolve().parent.parent

CHROMIUM_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a file's bytes by their number: a container holds the time it was made, so two processes would disagree."""
    return f"{argname}-of-{len(val)}-bytes" if isinstance(val, bytes) and len(val) > 20 else None


@pytest.fixture(autouse=True)
def _own_home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fast tests never touch the user's cache; slow ones share it, so that the default reader is converted once."""
    if request.node.get_closest_marker("slow"):
        yield
        return
    before = os.environ.get("RAG_FT_HOME")
    os.environ["RAG_FT_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    if before is None:
        del os.environ["RAG_FT_HOME"]
    else:
        os.environ["RAG_FT_HOME"] = before


@pytest.fixture(autouse=True)
def _threads() -> None:
    """One thread for each test process: two that share a product wait for each other longer than they compute."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public development data sets, which are not part of the project."""
    folder = Path(os.environ.get("RAG_FT_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "squad2" / "dev.json").is_file():
        pytest.skip(f"the development data sets are not at {folder}; RAG_FT_SHARED_DATA can name another folder")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Index and question records of eight little documents."""
    from data import little_world
    from fakes import HashingEmbedder

    from rag_ft.indexing.index import Index

    documents, questions = little_world()
    return Index.build(documents, tmp_path_factory.mktemp("world") / "index", embedder=HashingEmbedder()), questions


@pytest.fixture(scope="session")
def handbook_index(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder of the handbook's index with the real embedder, built once for all processes: copy it to change it."""
    from filelock import FileLock

    from rag_ft.environment import handbook_path
    from rag_ft.indexing.index import Index

    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "handbook-index"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            Index.build(handbook_path(), folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def real_reader() -> Any:
    """The default reader, loaded once for each test process."""
    from rag_ft.answering.reader import Reader

    return Reader.from_pretrained()


@pytest.fixture(scope="session")
def tiny_llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-layer random Llama with a byte-level BPE tokenizer trained here; pad is eos, as in SmolLM2."""
    from tiny_llama import make_tiny_llama

    return make_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def browser() -> Iterator[Callable[..., Any]]:
    """Open Chromium at a width; what it logs and requests is checked in the end."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    opened = []

    def at(width: int, height: int, address: str, dark: bool = False) -> Any:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in CHROMIUM_FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        opened.append(driver)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.get(address)
        return driver

    yield at
    for driver in opened:
        driver.quit()
