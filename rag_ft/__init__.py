"""Answers from your own documents, by a small reader that you can tune and measure yourself.

The names that most programs need; each is imported when it is first used, so that `import rag_ft` costs nothing.
The table is `__init__.pyi`, which type checkers read too. Errors are in `rag_ft.errors`; what is done with adapters
after training in `rag_ft.adapters`; settings of indexing, training and evaluation in the sub-packages of these names.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

try:
    __version__ = version("rag-ft")
except PackageNotFoundError:  # run from a folder that was never installed
    __version__ = "0"
