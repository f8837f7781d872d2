"""Weights on disk in, a model in memory out. Open `loading.py` first."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
