"""Results drawn: figures, plots, pages. Open `results.py` first."""
