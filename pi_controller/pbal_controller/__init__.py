"""The transformer controller: reads every home, plans and orders moves, and records them."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pbal")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0"
