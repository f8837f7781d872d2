"""BUILD: files in, an index out. Open `index.py` first, then `building/changes.py` for what a build does.

`corpus.py` with `sources/`, `parsing/` and `formats/` reads documents, `chunking.py` cuts passages, `embedding.py`
embeds them, `building/` writes an index, `storage/` keeps it, `searcher.py` and `retriever.py` search it.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
