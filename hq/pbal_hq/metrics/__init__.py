"""What HQ's processes say about themselves to Prometheus (docs/hq-monitoring.md).

counts    what the roles count as they work
facts     what is read when somebody asks: database, bus, files
families  both, and the roles, as Prometheus' families
http      how long web servers take to answer
serve     the listener, and the file by which Prometheus finds it
"""

from pbal_hq.metrics import counts
from pbal_hq.metrics.families import Process, render
from pbal_hq.metrics.http import TimedAsgi, timed
from pbal_hq.metrics.serve import Where, serve, where

__all__ = [
    "Process",
    "TimedAsgi",
    "Where",
    "counts",
    "render",
    "serve",
    "timed",
    "where",
]
