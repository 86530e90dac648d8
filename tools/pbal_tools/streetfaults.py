"""What `pbal sim run --faults` can break, and the words for it on the screen."""

import time
from collections.abc import Awaitable, Callable

from pbal_sim.street import Street

# Counted from when every home has been read.
FAULT_DELAY_S = 10.0

Fault = Callable[[Street], Awaitable[None]]


async def _noise(street: Street) -> None:
    await street.segment.noise(2e-5)


async def _dead(street: Street) -> None:
    await street.power_off(len(street.homes) - 1)


async def _unplugged(street: Street) -> None:
    await street.segment.wire(len(street.homes) - 1, False)


async def _babble(street: Street) -> None:
    await street.segment.babble(0)


async def _welded(street: Street) -> None:
    phase = street.homes[0].contacts.phase
    if phase >= 0:
        street.contact_fault(0, phase, "welded")


async def _sag(street: Street) -> None:
    street.set_phase(0, 0.85)


async def _reset(street: Street) -> None:
    await street.reset(0)


async def _liar(street: Street) -> None:
    # The range of a meter of its kind: at more the node reports that its meter is broken. In steps,
    # because a false value that never changes is found by the fuse only.
    street.lying_meter(0, lambda: 25_000.0 if time.monotonic() % 80 < 40 else 300.0)


FAULTS: dict[str, tuple[Fault, str]] = {
    "noise": (_noise, "bit errors on the line"),
    "dead": (_dead, "the last home's node loses its supply"),
    "unplugged": (_unplugged, "the last home's wires are cut"),
    "babble": (_babble, "the first home's node sends noise"),
    "welded": (_welded, "a contact of the first home welds"),
    "sag": (_sag, "phase A sags by 15 %"),
    "liar": (_liar, "the first home's meter now and then tells of 25 kW that do not flow"),
    "reset": (_reset, "the first home's node is reset"),
}
