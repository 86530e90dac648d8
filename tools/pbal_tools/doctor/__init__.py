"""`pbal doctor`: looks over a controller's computer and says what to mend."""

from .command import app

__all__ = ["app"]
