"""`pbal release`: build, sign, show, verify and publish application updates."""

from .command import app

__all__ = ["app"]
