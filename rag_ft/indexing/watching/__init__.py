"""A folder watched: each time its files have changed and settled, the index is built again."""
