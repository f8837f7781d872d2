"""A new generation of an index: documents in, files sealed and committed out. Open `changes.py` first."""
