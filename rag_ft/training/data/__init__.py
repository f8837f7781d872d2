"""From question records to masked batches. Open `examples.py` first."""
