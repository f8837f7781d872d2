"""Where documents come from: folders, files, documents in memory. Each source yields the events in `events.py`."""
