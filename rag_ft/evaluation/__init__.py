"""JUDGE: a recipe in, a report out. Open `evaluate.py` first.

`recipe.py` reads it, `arms/` answer, `runner.py` asks and remembers, `figures.py` computes, `report/` draws.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
