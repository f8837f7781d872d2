"""Question records made from passages: written by a generator, kept where the pipeline comes back with their evidence.

Start with `make.py`.
"""
