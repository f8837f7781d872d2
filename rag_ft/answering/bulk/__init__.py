"""Answers to any number of questions from a file, block by block: a killed run resumes, and no question is lost.

Open `run.py` first. `questions.py` reads the questions, `blocks.py` answers a block of them, `work.py` keeps finished
blocks, `rows.py` writes the answers; `on_ray.py` answers blocks on the machines of a Ray cluster.
"""
