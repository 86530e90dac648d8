"""`pbal flash`: from a bare board to a running node."""

from .command import app

__all__ = ["app"]
