"""Metrics: pure functions over plain lists, used by training and evaluation. Open `answers.py` first."""
