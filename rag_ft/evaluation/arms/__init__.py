"""Ways of answering under evaluation. Open `base.py` first."""
