"""HQ as a Sparkplug host application.

bridge    the broker's messages onto the bus, acknowledged when they are there; messages to sites
chirpstack  devices of a LoRaWAN network server onto the bus: sites like any other; orders to them
downlinks  what goes into that server's queues, and when again: pure
client    the MQTT client of the two
session   what is known of one edge node: births, sequence, aliases: pure
decode    raw messages to summaries, events and states
wording   the forms of records on the bus
"""

from pbal_hq.ingest.bridge import Bridge
from pbal_hq.ingest.chirpstack import Chirpstack
from pbal_hq.ingest.decode import Decoder
from pbal_hq.ingest.session import Node, Verdict
from pbal_hq.ingest.wording import BadRecord, Dead, Message, Out, Presence, Raw

__all__ = [
    "BadRecord",
    "Bridge",
    "Chirpstack",
    "Dead",
    "Decoder",
    "Message",
    "Node",
    "Out",
    "Presence",
    "Raw",
    "Verdict",
]
