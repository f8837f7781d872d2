"""An adapter after its training: inspect, calibrate, compare, merge, export, average, bench. Open `info.py` first.

In: an adapter's folder, sometimes an index with question records. Out: figures, a merged model, an exported file.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
