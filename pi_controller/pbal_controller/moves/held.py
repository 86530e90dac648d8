"""Why no plan is made now: by which of the conditions, and in words."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Hold(Enum):
    """The conditions, in the order in which they are looked at."""

    RESTRAINED = auto()  # HQ wants none
    STANDING_DOWN = auto()
    NO_ORDERS = auto()  # the journal, or this computer's clock
    STALE = auto()  # too few homes are fresh
    FULL = auto()  # as many homes are moving as may


class Held(NamedTuple):
    """The first of them that holds, and what the status says of it."""

    by: Hold
    why: str
