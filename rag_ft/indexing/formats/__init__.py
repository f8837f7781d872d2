"""One file's bytes → plain text, title, headings, pages. One module per format, built on a well-kept library.

To add a format, write a function `bytes -> Extracted` in a folder beside this file and name its suffixes in `READERS`,
in `readers.py`.

Rich formats become blocks separated by an empty line: paragraphs with soft line breaks as spaces, list items and table
rows one per line (cells joined by ` | `), code unchanged, no markup. Plain text stays exactly as decoded.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
