"""Question records: read, checked against their evidence, split by document. Open `records.py` first."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
