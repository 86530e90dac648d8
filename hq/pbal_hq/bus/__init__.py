"""The bus between HQ's roles: records in topics, in order, read by groups of consumers.

base    the contract
file    the small form: one SQLite file, durable, for all roles on one computer
kafka   the large form, loaded only where it is asked for: Kafka, for roles on many computers
consumer, cluster   its consumers; the connection, and what goes wrong with it
behind  how far its consumers are behind
rights  which user of Kafka may read and write what; making the topics
topics  which topics there are and what is in them
"""

from pbal_hq.bus import topics
from pbal_hq.bus.base import Bus, Consumer, Done, Measured, New, Record, done_with
from pbal_hq.bus.file import FileBus

__all__ = ["Bus", "Consumer", "Done", "FileBus", "Measured", "New", "Record", "done_with", "topics"]
