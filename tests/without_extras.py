"""What works, and what is said, where no extra is installed: run in a process of its own by `test_extras.py`.

Arguments: the modules to hide, with commas between; a folder to write in; the folder of a tiny model.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HIDE = """
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *arguments):
        return None if name.partition(".")[0] in {hidden!r} else self.finder.find_spec(name, *arguments)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Hiding, sys.meta_path)
"""
"""Source text, since the process that reads documents needs it too."""


def main(hidden: list[str], folder: Path, model: Path) -> dict[str, Any]:
    finders = list(sys.meta_path)
    hide = HIDE.format(hidden=set(hidden))
    exec(hide)

    from rag_ft.indexing.parsing import worker

    start = worker._START
    worker._START = f"{hide}\n{start}"
    results = {"not importable": modules_that_need_more(), **index_and_ask(folder, model), **doors(folder, model)}
    sys.meta_path[:], worker._START = finders, start
    return results | {"after installing": build(folder)["failures"]}


def modules_that_need_more() -> list[str]:
    import rag_ft

    missing = []
    for module in pkgutil.walk_packages(rag_ft.__path__, "rag_ft."):
        if module.name != "rag_ft.__main__":
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError:
                missing.append(module.name)
    return missing


def build(folder: Path) -> dict[str, Any]:
    from fakes import HashingEmbedder

    from rag_ft import Index

    index = Index.build(folder / "documents", folder / "index", embedder=HashingEmbedder(), progress=False)
    failures = {Path(failure.source).name: failure.reason for failure in index.build_report.failures}
    return {"documents": sorted(index.documents()), "failures": failures}


def index_and_ask(folder: Path, model: Path) -> dict[str, Any]:
    from fakes import HashingEmbedder

    from rag_ft import Index, Pipeline, Reader

    documents = folder / "documents"
    documents.mkdir()
    (documents / "text.txt").write_text("The harbour has three lighthouses.\n")
    (documents / "page.md").write_text("---\ntitle: Ferries\n---\n# Ferries\n\nThe ferry <b>sails</b> on Mondays.\n")
    (documents / "records.jsonl").write_text('{"id": "tide", "text": "The tide is high at noon."}\n')
    for suffix in ("pdf", "docx", "epub", "rst", "msg"):
        (documents / f"rich.{suffix}").write_text("x")
    results = build(folder)
    index = Index.load(folder / "index", embedder=HashingEmbedder())
    pipeline = Pipeline(index.as_retriever(k=2), Reader.from_pretrained(str(model), threshold=0.0))
    return results | {"passages read": len(pipeline.ask("When is the tide high?").passages)}


def doors(folder: Path, model: Path) -> dict[str, Any]:
    from rag_ft import Index, evaluate, train_reader
    from rag_ft.evaluation.arms.build import check_chat
    from rag_ft.evaluation.recipe import ChatChoice
    from rag_ft.metrics.retrieval import retrieval_metrics
    from rag_ft.models import compute_plan, load_model
    from rag_ft.questions.hub import read_hub_questions

    index = Index.load(folder / "index")
    chat = ChatChoice(name="chat", kind="chat", model="any", url="http://127.0.0.1:9/v1")
    calls: dict[str, Callable[[], Any]] = {
        "train": lambda: train_reader([], index, folder / "adapter", reader=str(model)),
        "eval": lambda: evaluate("recipe.toml", folder / "report"),
        "metrics": lambda: retrieval_metrics({}, {}),
        "chat": lambda: check_chat(chat),
        "hub": lambda: read_hub_questions("some/questions"),
        "pgvector": lambda: Index.load("postgresql://localhost/database"),
        "lancedb": lambda: Index.load(f"lancedb:{folder}"),
        "nf4": lambda: load_model(str(model), plan=compute_plan(quantisation="nf4")),
    }
    commands = {
        "rag-ft train": ["train", "questions.jsonl", "--index", "index", "--output", "adapter"],
        "rag-ft eval": ["eval", "recipe.toml"],
        "rag-ft serve": ["serve", "--index", "index"],
        "rag-ft mcp": ["mcp", "--index", "index"],
    }
    return {
        "calls": {name: sentence_of(call) for name, call in calls.items()},
        "commands": {name: outcome_of(words) for name, words in commands.items()},
    }


def sentence_of(call: Callable[[], Any]) -> str:
    from rag_ft.errors import MissingExtraError

    try:
        call()
    except MissingExtraError as error:
        return str(error)
    return "nothing was missing"


def outcome_of(words: list[str]) -> tuple[Any, str]:
    """The exit status and standard error of a command."""
    from rag_ft.cli import main as command_line

    sys.argv = ["rag-ft", *words]
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        try:
            command_line()
        except SystemExit as end:
            return end.code, stderr.getvalue()
    return None, stderr.getvalue()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.stdout.write(json.dumps(main(sys.argv[1].split(","), Path(sys.argv[2]), Path(sys.argv[3]))))
