"""`pbal site`: the site file, what it says and whether the street agrees."""

from .command import app

__all__ = ["app"]
