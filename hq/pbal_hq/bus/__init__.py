"""The bus between HQ's roles: records in topics, in order, read by groups of consumers.

base    the contract
file    the small form: one SQLite file, durable, for all roles on one computer
topics  which topics there are and what is in them
"""

from pbal_hq.bus import topics
from pbal_hq.bus.base import Bus, Done, Measured, New, Record
from pbal_hq.bus.file import FileBus

__all__ = ["Bus", "Done", "FileBus", "Measured", "New", "Record", "topics"]
