"""`pbal meter`: the transformer's meter, as its profile says."""

from .command import app

__all__ = ["app"]
