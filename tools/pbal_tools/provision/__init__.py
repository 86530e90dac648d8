"""`pbal provision`: addresses and keys for nodes."""

from .command import app

__all__ = ["app"]
