"""`pbal node`: one node, over its console on site or through the controller."""

from .command import app

__all__ = ["app"]
