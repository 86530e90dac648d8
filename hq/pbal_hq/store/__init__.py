"""From the bus into the database: storing, sums, retention.

accept     what is kept of what comes
writer     batches of summaries, events and states, each once
forms      what the fields of a message have to be
series     the summaries' table: insert, partitions, retention
presence   which sites are online, and their state
sums       hours and days of what changed
feeders    days of feeders from those of transformers
prune      what is too old
"""

from pbal_hq.store.accept import Node, nodes, out_of_time
from pbal_hq.store.feeders import sum_feeders
from pbal_hq.store.forms import check as check_fields
from pbal_hq.store.prune import prune
from pbal_hq.store.sums import WEIGHT, sum_due, sum_up, terms_of
from pbal_hq.store.writer import GROUP, TOPICS, Writer

__all__ = [
    "GROUP",
    "TOPICS",
    "WEIGHT",
    "Node",
    "Writer",
    "check_fields",
    "nodes",
    "out_of_time",
    "prune",
    "sum_due",
    "sum_feeders",
    "sum_up",
    "terms_of",
]
