"""HQ: receives the transformers' reports, stores them, and shows them to people, who give orders.

Of the project it uses only the messages between a site and HQ (pbal_uplink).
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pbal")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0"
