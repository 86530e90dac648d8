"""`pbal audit`: the log of what was ordered and decided at a site."""

from .command import app

__all__ = ["app"]
