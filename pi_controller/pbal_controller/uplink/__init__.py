"""The link to HQ: summaries and events, an outbox, Sparkplug over MQTT, commands."""

from pbal_controller.uplink import (
    airlink,
    certificate,
    enrolment,
    gateway,
    lora,
    outbox,
    thermal,
    tls,
)
from pbal_controller.uplink.alarms import SiteAlarm
from pbal_controller.uplink.anchor import Anchors, anchor
from pbal_controller.uplink.commands import Commands
from pbal_controller.uplink.gateway import Gateway
from pbal_controller.uplink.keyfile import KeyFile
from pbal_controller.uplink.kinds import Link, gateway_of, link_of
from pbal_controller.uplink.link import Uplink
from pbal_controller.uplink.lora import LoraUplink
from pbal_controller.uplink.lorawan import LorawanUplink
from pbal_controller.uplink.modem import load_modem, read_app_key
from pbal_controller.uplink.node import EdgeNode, Intents, Packet
from pbal_controller.uplink.renewal import Renewal
from pbal_controller.uplink.state import StateMaker
from pbal_controller.uplink.summaries import Summaries

__all__ = [
    "Anchors",
    "Commands",
    "EdgeNode",
    "Gateway",
    "Intents",
    "KeyFile",
    "Link",
    "LoraUplink",
    "LorawanUplink",
    "Packet",
    "Renewal",
    "SiteAlarm",
    "StateMaker",
    "Summaries",
    "Uplink",
    "airlink",
    "anchor",
    "certificate",
    "enrolment",
    "gateway",
    "gateway_of",
    "link_of",
    "load_modem",
    "lora",
    "outbox",
    "read_app_key",
    "thermal",
    "tls",
]
