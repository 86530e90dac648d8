"""`pbal commission`: from provisioned nodes on a bus to a street whose wiring is measured."""

from .command import app

__all__ = ["app"]
