"""All controllers on one street, each judged by the same power flow."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from . import controllers as c
from . import secondprocess
from .metrics import Outcome, judge
from .street import Street

Stage = Callable[[str, int | None], Callable[[int], None]]
"""Starts a stage of known or unknown length; returns what to call with each amount done."""

T = TypeVar("T")


def run_controllers(
    names: Sequence[str],
    street: Street,
    relays: NDArray[np.bool_],
    loop: c.Loop,
    ambient_c: float,
    stage: Stage,
    meanwhile: Callable[[Stage], T],
    beside: bool = True,
) -> tuple[dict[str, Outcome], T]:
    """The outcome of every controller in `names`, as built first, and what `meanwhile` returned.

    pbal's own run takes longest and may be in another process; the others, and `meanwhile`, do not
    depend on it, or follow it week by week.
    """
    steps = len(street)
    own: secondprocess.Inline | None = None

    def watched(name: str, total: int | None) -> Callable[[int], None]:
        done = stage(name, total)

        def tick(amount: int) -> None:
            done(amount)
            if own is not None:
                own.poll()

        return tick

    outcomes: dict[str, Outcome] = {}

    def see(trajectory: c.Trajectory) -> None:
        done = watched(f"Power flow: {trajectory.title}", steps)
        outcomes[trajectory.name] = judge(street, trajectory, ambient_c, done)

    try:
        if "pbal" in names:
            own = secondprocess.start(
                street, relays, loop, stage("pbal, minute by minute", steps), beside
            )
        see(c.as_built(street))
        if "best_static" in names:
            see(c.best_static(street, loop, watched("Best static assignment", steps)))
        extra = meanwhile(watched)
        future = None
        if "hindsight" in names:
            done = watched("Hindsight optimum", steps)
            if own is None:
                future = c.known_future(street, relays, None, loop, done)
            else:
                future = c.known_future(street, relays, own.so_far, loop, done, own.ready)
        if own is not None:
            see(own.finish())
        if future is not None:
            see(future)
    finally:
        if own is not None:
            own.close()
    return outcomes, extra
