"""PDF pages: their text layer, put in reading order. Open `reading.py` first."""
