"""The settings as the node keeps them; code that checks and applies them is loaded on demand."""

from micropython import const

from pbal_node import unload

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.autonomy import Settings as Autonomous
    from pbal_node.metering.base import Meter
    from pbal_node.metering.sense import Sense
    from pbal_node.report import Report
    from pbal_node.selector import Limits, Timing
    from pbal_node.store import Config, FlashStats
    from pbal_node.supply import Supply


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

    def apply(self) -> None:
        """Copy the settings to where they are used."""
        from pbal_node import applying

        applying.apply(self)

    def take(self, key: int, value: int) -> int:
        """A setting that was received: refused (RESULT_*), or in flash and in use."""
        from pbal_node import applying

        return applying.take(self, key, value)

    def forget(self) -> None:
        """No more are expected: unload the code that checks them."""
        unload("pbal_node", "applying")
        unload("pbal_protocol", "config")
