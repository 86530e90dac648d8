"""The `pbal-hq` command: one module for each noun."""

from pbal_hq.cli.main import app, main

__all__ = ["app", "main"]
