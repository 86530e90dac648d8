"""`pbal commission`: from provisioned nodes on a bus to a street whose wiring has been measured."""

from .command import app

__all__ = ["app"]
