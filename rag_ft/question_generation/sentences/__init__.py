"""Questions from sentences: the words of a statement turned around by rules, without a model."""
