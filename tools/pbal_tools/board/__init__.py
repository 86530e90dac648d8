"""`pbal board`: boards are data, checked and drawn."""

from .command import app

__all__ = ["app"]
