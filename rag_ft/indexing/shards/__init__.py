"""An index of many shards, each an ordinary index: searched in parallel, merged exactly, changed while it serves."""
