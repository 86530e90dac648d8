"""Hosting capacity: how many homes may have a car or a roof before a limit is passed.

The share of homes is raised in tenths; a home that has one at a smaller share keeps it. Compared
with the limits are the highest 10-minute phase current (the phase limit, else the transformer's
rating) and, where the feeder is known, EN 50160's voltages and unbalance. The last share that
passes is found by bisection, which assumes that a larger share loads the street more.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .controllers import Trajectory
from .metrics import Outcome, judge, summarise
from .street import Street

TENTHS = 10


@dataclass(frozen=True)
class Hosted:
    """What one controller can host. share 0..1 of the homes, -1 where not even none pass; `first`
    is the limit that the next share passes, empty where all homes can have one."""

    what: str
    controller: str
    share: float
    first: str

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return asdict(self)


def passed_limit(said: dict[str, Any], limit_a: float) -> str:
    """The first limit that these `summarise` figures pass, in words; empty where none."""
    if limit_a > 0 and said["peak_10min"]["phase_a"] > limit_a:
        return f"phase current above {limit_a:.0f} A"
    if "voltage" in said and not said["voltage"]["en50160_passed"]:
        return "voltages outside EN 50160"
    if "vuf" in said and not said["vuf"]["en50160_passed"]:
        return "unbalance above 2 %"
    return ""


def hosted(
    what: str,
    controller: str,
    street_at: Callable[[float], Street],
    follow: Callable[[Street], Trajectory],
    limit_a: float,
) -> Hosted:
    """The largest share that one controller can host.

    street_at: the street with so large a share. follow: the controller's trajectory on it.
    """

    def fails(tenths: int) -> str:
        street = street_at(tenths / TENTHS)
        outcome: Outcome = judge(street, follow(street), 20.0)
        relays = outcome.trajectory.start >= 0  # all: it does not matter to the limits
        return passed_limit(summarise(outcome, outcome, street, relays, 0.0), limit_a)

    low, high = -1, TENTHS + 1
    first = ""
    while high - low > 1:
        middle = (low + high) // 2
        said = fails(middle)
        if said:
            high, first = middle, said
        else:
            low = middle
    return Hosted(what, controller, low / TENTHS if low >= 0 else -1.0, first)
