import ast
import subprocess
import sys
from pathlib import Path

import rag_ft

PACKAGE = Path(rag_ft.__file__).parent


def test_all_is_sorted_and_every_name_resolves():
    assert sorted(rag_ft.__all__) == rag_ft.__all__
    for name in rag_ft.__all__:
        assert getattr(rag_ft, name).__name__.rsplit(".", 1)[-1] == name


def test_every_error_is_public():
    from rag_ft import errors

    defined = {name for name in vars(errors) if name.endswith("Error")}
    assert defined <= set(rag_ft.__all__)
    assert all(name in (errors.__doc__ or "") for name in defined)


def test_importing_the_package_or_the_command_line_loads_nothing_heavy():
    code = (
        "import sys, rag_ft, rag_ft.cli; "
        "print([m for m in ('torch', 'transformers', 'faiss', 'langchain_core', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


ORDER = (
    "errors settings files schema access index_folder index_reading platt threshold counterfactual checksums"
    " conversion model_folder weights tuning_record lora_layers shared_base model completion sentences spans wording"
    " squad metadata formats corpus bundled chunking embedding vectors bm25 word_counts index_journal index_manifest"
    " index_store filters index_build visible index_verify index retriever row_attention prefix_cache token_tree"
    " row_session decoder span_search candidates grammar prompt side_by_side reader citation pipeline dataset"
    " provenance evaluation training data_check reader_score tuning calibration tuning_curve probing merging averaging"
    " exporting"
    " adapter comparison adapter_bench serving cli"
).split()
"""Each module may import those before it only."""

ALLOWED_BACK = {
    ("index", "retriever"),
    ("index_verify", "index"),
    ("decoder", "model"),
    ("shared_base", "model"),
    ("tuning_record", "model"),
}
"""`Index.as_retriever` makes what stands above it; the others are names for type checkers."""


def test_modules_import_only_those_before_them():
    rooms = {path: path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    rooms = {path: room for path, room in rooms.items() if room not in ("__init__", "__main__")}
    assert set(rooms.values()) <= set(ORDER)
    wrong = []
    for path, room in rooms.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rag_ft"):
                names = [node.module.split(".")[1]] if "." in node.module else [alias.name for alias in node.names]
                for name in names:
                    if name in ORDER and ORDER.index(name) > ORDER.index(room) and (room, name) not in ALLOWED_BACK:
                        wrong.append((room, name))
    assert wrong == []
