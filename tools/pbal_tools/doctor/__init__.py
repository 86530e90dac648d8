"""`pbal doctor`: checks a controller's computer and says what to repair."""

from .command import app

__all__ = ["app"]
