"""HQ: takes in what transformers report, keeps it, and lets people decide.

It knows of the project only the words between a site and HQ (pbal_uplink).
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pbal")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0"
