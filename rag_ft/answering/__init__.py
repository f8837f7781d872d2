"""ASK: a question and an index in, a cited answer out. Open `pipeline.py` first, then `reader.py`."""
