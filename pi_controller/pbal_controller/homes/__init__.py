"""The homes: what is known of each, the sealed conversation with it, and which to poll next."""

from pbal_controller.homes.conversation import Conversation, Host
from pbal_controller.homes.counters import Counters
from pbal_controller.homes.fleet import PHASE_NAMES, ROTATION, Fleet, Home
from pbal_controller.homes.group_keys import GroupKeys
from pbal_controller.homes.host import SiteHost
from pbal_controller.homes.inbox import Doubtful, Fact, Inbox, Received, Sent
from pbal_controller.homes.path import Path
from pbal_controller.homes.rounds import Rounds
from pbal_controller.homes.router import Router
from pbal_controller.homes.session import BEACONS, CounterBlock, GroupSession, Session, time_sync

__all__ = [
    "BEACONS",
    "PHASE_NAMES",
    "ROTATION",
    "Conversation",
    "CounterBlock",
    "Counters",
    "Doubtful",
    "Fact",
    "Fleet",
    "GroupKeys",
    "GroupSession",
    "Home",
    "Host",
    "Inbox",
    "Path",
    "Received",
    "Rounds",
    "Router",
    "Sent",
    "Session",
    "SiteHost",
    "time_sync",
]
