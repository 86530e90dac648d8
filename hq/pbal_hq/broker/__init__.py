"""Mosquitto: its configuration, its access list, and how a client is disconnected at once."""

from pbal_hq.broker.control import kick, lets_in, refuses, reload
from pbal_hq.broker.files import BrokerFiles, access_list

__all__ = ["BrokerFiles", "access_list", "kick", "lets_in", "refuses", "reload"]
