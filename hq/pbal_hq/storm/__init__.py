"""The detectors in Apache Storm (docs/hq-large.md).

stream      the detectors over summaries as they come
accept      what they say becomes alarms
topology    the topology as Flux reads it, from HQ's configuration
bolt        what a worker starts for each part of it: `stream` over its partitions
multilang   Storm's protocol with programs that are not Java
"""

from pbal_hq.storm.accept import Taker
from pbal_hq.storm.topology import STORM

__all__ = ["STORM", "Taker"]
