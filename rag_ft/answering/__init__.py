"""ASK: a question and an index in, a cited answer out.

Open `pipeline.py` first, then `reader.py`. `config.py` has the settings, `outcome.py` decides between answer and null.
"""
