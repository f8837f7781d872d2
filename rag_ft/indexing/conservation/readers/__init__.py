"""One small reader per format: a source's bytes → its words, with those that a text need not have named by reason."""
