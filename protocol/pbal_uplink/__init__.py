"""The messages between a transformer and HQ, for the controller, gateways and HQ.

    Message   Summary, Event, State (site to HQ), Command (HQ to site)
    compact   the summary in at most 51 bytes;  brief: every message in few bytes
    link      what a site and its gateway say to each other over LoRa
    metrics   messages as Sparkplug metrics;  sparkplug: payloads as bytes
    schema    JSON Schema;  signing: commands under HQ's signature

No part of it uses a clock, a port or a file.
"""

from pbal_uplink import brief, compact, link, metrics, names, schema, signing, sparkplug
from pbal_uplink.declare import VERSION, Field, Message
from pbal_uplink.errors import BadMessage, BadSignature, UplinkValueError
from pbal_uplink.messages import MESSAGES, Command, Event, State, Summary

__all__ = [
    "MESSAGES",
    "VERSION",
    "BadMessage",
    "BadSignature",
    "Command",
    "Event",
    "Field",
    "Message",
    "State",
    "Summary",
    "UplinkValueError",
    "brief",
    "compact",
    "link",
    "metrics",
    "names",
    "schema",
    "signing",
    "sparkplug",
]
