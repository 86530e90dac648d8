"""`pbal radio`: what a crew can know of a radio site before it leaves."""

from .command import app

__all__ = ["app"]
