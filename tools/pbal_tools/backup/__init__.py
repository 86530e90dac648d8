"""`pbal backup`: a site's configuration, keys and journal in one encrypted file."""

from .command import app

__all__ = ["app"]
