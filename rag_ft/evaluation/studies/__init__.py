"""Studies beside the main comparison: faithfulness, robustness, learning curve, development thresholds.

Open `run.py` first.
"""
