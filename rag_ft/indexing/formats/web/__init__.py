"""HTML pages and books: visible text of elements. Open `html.py` first, then `dom.py`."""
