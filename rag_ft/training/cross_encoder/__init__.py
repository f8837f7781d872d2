"""TRAIN the cross-encoder: question records and an index in, what reranks passages and chooses sentences out.

Open `run.py` first. `examples.py` puts questions beside passages, `losses.py` says what is learned, `trainer.py` takes
the steps, `scoring.py` measures, `calibration.py` turns scores into probabilities, `folder.py` keeps an unfinished run.
"""
