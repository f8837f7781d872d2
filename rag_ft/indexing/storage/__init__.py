"""The files of an index: vectors, words, manifest, generations, journal. Open `store.py` first."""
