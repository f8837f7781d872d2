"""Question records + index → examples → rows with label masks → LoRA training → adapter, and a verdict on it."""
