"""Forward passes over rows that share passages: padded or row by row, trees, cached prefixes.

Token ids in, logits out. Open `decoder.py` first.
"""
