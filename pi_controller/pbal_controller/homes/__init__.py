"""The homes: what is known of each, the sealed conversation with it, and whom to ask next."""

from pbal_controller.homes.fleet import PHASE_NAMES, ROTATION, Fleet, Home
from pbal_controller.homes.group_keys import GroupKeys
from pbal_controller.homes.inbox import Doubtful, Fact, Inbox, Received, Sent
from pbal_controller.homes.segment import Segment
from pbal_controller.homes.session import GroupSession, Session, time_sync

__all__ = [
    "PHASE_NAMES",
    "ROTATION",
    "Doubtful",
    "Fact",
    "Fleet",
    "GroupKeys",
    "GroupSession",
    "Home",
    "Inbox",
    "Received",
    "Segment",
    "Sent",
    "Session",
    "time_sync",
]
