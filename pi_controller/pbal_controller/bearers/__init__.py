"""Bearers carry sealed frames; they know frames, not meanings."""
