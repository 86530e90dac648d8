"""The settings as the node keeps them, and those that were ordered; code that checks and applies
them is loaded on demand.
"""

from micropython import const

from pbal_node import unload
from pbal_protocol import records

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.autonomy import Settings as Autonomous
    from pbal_node.metering.base import Meter
    from pbal_node.metering.sense import Sense
    from pbal_node.report import Report
    from pbal_node.selector import Limits, Timing
    from pbal_node.store import Config, FlashStats
    from pbal_node.supply import Supply

_ALL_KEYS = const(255)
_ORDERS = const(16)  # settings that wait to be written

_EV_CONFIG_CHANGED = const(10)
_INFO = const(0)

_RESULT_OK = const(0)
_RESULT_UNKNOWN_KEY = const(1)
_RESULT_REFUSED = const(3)


class Settings:
    """`config` has the values; the others are where they are used."""

    # Filled in by hardware.py and build.py.
    config: "Config"
    stats: "FlashStats"
    limits: "Limits"
    supply: "Supply"
    timing: "Timing"
    autonomous: "Autonomous"
    sense: "Sense"
    meter: "Meter"
    report: "Report"
    marked: list  # keys that the identity marks on site
    board_rated_a: float
    board_dead_ms: int

    def __init__(self) -> None:
        self.ordered: list = []  # (key, value) that wait for their turn
        self._newest = 0  # the counter of the last frame with an order

    def apply(self) -> None:
        """Copy the settings to where they are used."""
        from pbal_node import applying

        applying.apply(self)

    def order(self, key: int, value: int, counter: int) -> bool:
        """A setting that came in the frame of this counter waits for `take_next`; False when there
        are too many, or a later frame brought one: held back on the way, it would undo that.
        """
        if counter < self._newest or len(self.ordered) >= _ORDERS:
            return False
        self._newest = counter
        self.ordered.append((key, value))
        return True

    def take_next(self, emit, faults):
        """The oldest order: refused, or in flash and in use. (key, its value now, RESULT_*)"""
        key, value = self.ordered.pop(0)
        try:
            result = self.take(key, value)
        except Exception as e:
            faults.note(records.Config.ID, e)
            result = _RESULT_REFUSED
        if result == _RESULT_OK:
            emit(_EV_CONFIG_CHANGED, _INFO, key, value)
        elif self.config.has(key):
            value = self.config.get(key)
        if not self.ordered:
            self.forget()
        return key, value, result

    def values(self, key: int):
        """(key, value, RESULT_*) of this key, of each for 255."""
        config = self.config
        for k in config.keys() if key == _ALL_KEYS else [key]:
            if config.has(k):
                yield k, config.get(k), _RESULT_OK
            else:
                yield k, 0, _RESULT_UNKNOWN_KEY

    def take(self, key: int, value: int) -> int:
        """A setting that was received: refused (RESULT_*), or in flash and in use."""
        from pbal_node import applying

        return applying.take(self, key, value)

    def forget(self) -> None:
        """No more are expected: unload the code that checks them."""
        unload("pbal_node", "applying")
        unload("pbal_protocol", "config")
