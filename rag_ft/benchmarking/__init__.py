"""**bench**: what this program takes on this machine, each figure beside what one would run instead."""
