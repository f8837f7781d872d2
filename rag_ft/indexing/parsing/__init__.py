"""Files read in a process of its own with limits: parent (`worker.py`), child, and what passes between."""
