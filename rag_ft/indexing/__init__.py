"""BUILD: files in, an index out. Open `index.py` first, then `changes.py` for what a build does.

`corpus.py` and `formats/` read documents, `chunking.py` cuts passages, `embedding.py` embeds, `storage/` keeps.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
