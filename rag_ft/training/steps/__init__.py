"""The optimiser's steps: settings, loop, checkpoints, kernels. Open `trainer.py` first."""
