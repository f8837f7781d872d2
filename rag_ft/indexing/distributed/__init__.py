"""Files read, cut and embedded ahead of a build, block by block: by the workers of a Ray cluster.

`run.py` divides a corpus into blocks (`blocks.py`), has an engine read those that no earlier build has finished
(`finished.py`), and gives the build a corpus whose documents come from the finished blocks, in the source's order.
What a worker does with a block is in `reader.py`; `on_ray.py` is the engine on a Ray cluster.
"""
