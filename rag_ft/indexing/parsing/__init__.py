"""Files read in a separate process with limits: parent (`worker.py`), child, and what passes between them."""
