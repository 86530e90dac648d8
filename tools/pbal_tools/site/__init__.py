"""`pbal site`: the site file, its content, and whether the site agrees with it."""

from .command import app

__all__ = ["app"]
