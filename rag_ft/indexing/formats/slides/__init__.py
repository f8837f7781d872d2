"""Slides (PPTX): in their order, each shape where a reader comes to it."""
