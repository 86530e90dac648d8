"""A street in numbers: the truth of one moment, and what happened since its start."""

from __future__ import annotations

from typing import Any

from pbal_sim.contacts import OPEN
from pbal_sim.hal import hwmap
from pbal_sim.street import Street


def snapshot(street: Street) -> dict[str, Any]:
    """The true state now, for pictures: volts, amperes, watts; phases 1..3, 0 open."""
    m = street.mains
    return {
        "time_s": street.clock_us / 1e6 - street.started_s,
        "load_time_s": street.load_time_s,
        "phase_v": [float(abs(v)) for v in m.v_phase],
        "phase_a": [float(abs(i)) for i in m.i_phase],
        "neutral_a": float(abs(m.i_neutral)),
        "neutral_without_a": street.neutral.without_a,
        "transfers": len(street.witness.transfers),
        "homes": [
            {
                "address": street.identities[h.index].address,
                "name": street.identities[h.index].name,
                "phase": h.contacts.phase + 1 if h.contacts.phase != OPEN else 0,
                "v": float(abs(m.v_home[h.index])),
                "i": float(abs(m.i_home[h.index])),
                "p_w": h.meter.reading.p_w,
                "up": h.chip.pid != 0,
                "starts": h.chip.starts,
            }
            for h in street.homes
        ],
    }


def report(street: Street) -> dict[str, Any]:
    """What happened since the start. Neutral currents are means in ampere:

    `before` until the first transfer, `after` over the last 10 s, `without` over the same
    10 s had every home stayed on its first phase.
    """
    homes = street.homes
    # The simulated hardware's own objects are in the same heap: they are subtracted.
    hal = max((h.chip.u32(hwmap.HEAP_HAL) for h in homes), default=0)
    peaks = [h.chip.u32(hwmap.HEAP_PEAK) - hal for h in homes]
    totals = [h.chip.u32(hwmap.HEAP_TOTAL) - hal for h in homes]
    return {
        "homes": street.config.homes,
        "interpreter": street.interpreter,
        "boot_s": street.boot_s,
        **street.neutral.report(street.clock_us / 1e6),
        "node_heap_peak_bytes": max(peaks, default=0),
        "node_heap_hal_bytes": hal,
        "node_heap_total_bytes": max(totals, default=0),
        "node_starts": sum(h.chip.starts for h in homes),
        "node_crashes": sum(h.crashes for h in homes),
        "watchdog_bites": sum(h.wdt_bites for h in homes),
        **street.witness.report(),
    }
