"""Parts of the package that are installed on request, as in `pip install 'rag-ft[train]'`.

A module of an extra is imported within the function that needs it, after `require_extra`. The names here are those of
`[project.optional-dependencies]` in `pyproject.toml`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType

from rag_ft.errors import MissingExtraError

EXTRAS: dict[str, tuple[str, ...]] = {
    "chat": ("langchain_openai",),
    "eval": ("ir_measures", "matplotlib", "scipy"),
    "fast": ("openvino",),
    "formats": ("defusedxml", "docutils", "docx", "lxml", "olefile", "pypdfium2"),
    "lancedb": ("lancedb", "pyarrow"),
    "mcp": ("mcp",),
    "nf4": ("bitsandbytes",),
    "ocr": ("PIL", "pytesseract"),
    "parquet": ("pyarrow",),
    "pgvector": ("pgvector", "psycopg"),
    "ray": ("pandas", "pyarrow", "ray"),
    "remote": ("fsspec", "s3fs"),
    "serve": (
        "fastapi",
        "jsonschema",
        "prometheus_client",
        "python_multipart",
        "referencing",
        "starlette",
        "uvicorn",
    ),
    "train": ("accelerate", "datasets", "matplotlib", "scipy", "trl"),
    "watch": ("watchfiles",),
}
"""Top-level modules by extra. `train` installs `nf4` too, and is usable without it in 16 and 32 bits."""


def require_extra(extra: str, work: str, *modules: str) -> None:
    """Raise MissingExtraError unless the modules of an extra are installed; by default, all of them.

    `work` begins the sentence: "reading PDF files".
    """
    if not all(map(is_installed, modules or EXTRAS[extra])):
        raise MissingExtraError(work, extra)


def is_installed(module: str) -> bool:
    """Whether a top-level module can be imported."""
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        return False
    # A folder on the path that has the module's name, such as `datasets/` of a checkout, has no origin.
    return spec is not None and spec.origin is not None


_IMPORTING = threading.Lock()


def import_without(module: str, absent: str) -> ModuleType:
    """Import a module as if a package that it imports where it can (`absent`) were not installed.

    Whichever of the two was imported before stays as it is.
    """
    with _IMPORTING:
        if module in sys.modules or absent in sys.modules:
            return importlib.import_module(module)
        sys.modules[absent] = None  # type: ignore[assignment]  # makes its import fail
        try:
            return importlib.import_module(module)
        finally:
            del sys.modules[absent]
