"""Batches that are killed again and again: what was paid, and what was saved."""
