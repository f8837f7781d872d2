"""Source files: their text unchanged, cut at functions and classes. Open `source.py` first."""
