"""From the model's scores to words: candidates and their search, or tokens under a grammar.

Prompts with their outcomes in, the same prompts answered out. Open `prompt_rows.py` first, then `quote.py`;
`candidates.py` lists what may be an answer. `batch.py` calls either way of answering for many requests at once.
"""
