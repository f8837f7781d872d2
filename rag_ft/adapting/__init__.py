"""ADAPT: a folder of documents in, a tuned reader with a verdict out. Open `adapt.py` first.

`stages.py` remembers what is done, `records.py` gets question records, `sides.py` splits them, `plan.py` fits the run
into its time, `judge.py` compares the readers, `verdict.py` decides, `next_steps.py` says what to do, `page.py` shows
it.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
