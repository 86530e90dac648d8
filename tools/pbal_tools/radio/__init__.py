"""`pbal radio`: an estimate of a radio site before the crew leaves."""

from .command import app

__all__ = ["app"]
