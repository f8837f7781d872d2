"""Rules about language, without a model or a file: sentences, candidate spans, swapped answers."""
