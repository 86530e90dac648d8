"""From the bus into the database: storing, sums, retention.

writer     batches of summaries, events and states, each once
forms      what the fields of a message have to be
series     the summaries' table: insert, partitions, retention
presence   which sites are online, and their state
sums       hours and days of what changed
prune      what is too old
"""

from pbal_hq.store.prune import prune
from pbal_hq.store.sums import sum_due, sum_up
from pbal_hq.store.writer import GROUP, TOPICS, Writer

__all__ = ["GROUP", "TOPICS", "Writer", "prune", "sum_due", "sum_up"]
