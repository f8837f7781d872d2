"""TRAIN: question records and an index in, an adapter with its record and card out. Open `run.py` first.

`prepare.py` makes masked examples and the certificate, `steps/` trains, `scoring.py` measures, `saving.py` writes.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
