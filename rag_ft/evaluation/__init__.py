"""JUDGE: questions, an index and an adapter in, or a recipe; a report out. Open `evaluate.py` first.

`recipe.py` reads a recipe, `arms/` answer, `runner.py` asks and keeps the replies, `figures.py` computes, `report/`
draws.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
