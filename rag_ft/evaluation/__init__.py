"""Judging: metrics as pure functions over plain lists."""
