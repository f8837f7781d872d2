"""From the model's scores to words: candidate spans and their search, or tokens under a grammar."""
