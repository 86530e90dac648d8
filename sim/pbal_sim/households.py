"""Placeholder until the generator proper lands in the next commit."""
