"""The transformer controller: reads every home, decides, moves homes, and keeps account of it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pbal")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0"
