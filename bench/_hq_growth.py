"""How a role grows from one process to two, for the large profile of `bench.hq`.

Nobody sends while it is measured. The records are put on the bus in one transaction while the
processes of the role, which are in their group and have nothing to do, stand before it: consumers
see committed records only, so with the commit the whole backlog is there at once. What is timed is
from the commit to the last record done. One and two processes take turns (one, two, two, one), so
that what the computer does besides falls on both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from bench._hq_engines import Place
from bench._hq_roles import Role, roles, until
from bench._processors import busy_s
from pbal_hq.bus import New

WAYS = {1: "one", 2: "two"}
_ORDER, _QUICK = (1, 2, 2, 1), (1, 2)
_POLL_S = 0.2


def grown(
    place: Place, role: Callable[[], Role], topic: str, count: int, load: Callable[[], list[New]],
    *, quick: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Drains of `count` summaries by one process and by two, and what two are to one.

    `load`: records of `topic` that were not there yet. `us`: processor time of the role for a
    summary; `kafka_us`, `postgres_us`: of the engines meanwhile. `busy`: processors that all of
    them took together; `others`: that anything else on this computer took. `share`: of the role's
    processor time, the largest of its processes.
    """
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for many in _QUICK if quick else _ORDER:
        runs[many].append(_drained(place, role(), many, topic, load()))
    found: dict[str, Any] = {
        word: _joined(runs[many], count * len(runs[many])) for many, word in WAYS.items()
    }
    one, two = found["one"], found["two"]
    processors = os.cpu_count() or 1
    # What all processors would do a second, if nothing but this chain had them.
    most = 1e6 * processors / two["all_us"]
    return found | {
        "growth": two["per_s"] / one["per_s"],
        "own_cost": two["us"] / one["us"],
        "whole_cost": two["all_us"] / one["all_us"],
        "most_per_s": most,
        "most_growth": min(2.0, most / one["per_s"]),
        # If each process had a processor of its own and no other limit: the busier of the two is
        # done last.
        "free_growth": one["us"] / (two["us"] * two["share"]),
    }


def _joined(runs: list[dict[str, float]], count: int) -> dict[str, float]:
    """Of several drains, `count` summaries in all."""
    total = {name: sum(each[name] for each in runs) for name in runs[0]}
    own, took, span = total["own_s"], total["took_s"], total["span_s"]
    engines = total["kafka_s"] + total["postgres_s"]
    return {
        "us": 1e6 * own / count,
        "kafka_us": 1e6 * total["kafka_s"] / count,
        "postgres_us": 1e6 * total["postgres_s"] / count,
        "all_us": 1e6 * (own + engines) / count,
        "per_core_s": count / own,
        "per_s": count / took,
        "took_s": took,
        "busy": (own + engines) / span,
        "others": max(0.0, total["computer_s"] - own - engines) / span,
        "share": total["largest_s"] / own,
    }


def _drained(
    place: Place, role: Role, many: int, topic: str, records: list[New]
) -> dict[str, float]:
    place.at_end(role.group, topic)
    with roles(role):
        for _ in range(many):
            role.start()
        place.drained(role.group, topic)
        with place.held(records) as release:
            # All clocks over one span: asking Kafka takes its time, too, on a busy computer.
            opened, computer = time.monotonic(), busy_s()
            engines, own = place.cpu_s(), role.each_cpu_s()
            # Not by what is behind: until the commit has reached each partition that is nothing.
            end = place.position(role.group, topic) + len(records)
            release()
            began = time.monotonic()
            until(lambda: place.position(role.group, topic) >= end, role.name, _POLL_S)
            took, after = time.monotonic() - began, place.cpu_s()
        spent = [b - a for a, b in zip(own, role.each_cpu_s(), strict=True)]
        computer = busy_s() - computer
        return {
            "took_s": took, "span_s": time.monotonic() - opened,
            "own_s": sum(spent), "largest_s": max(spent), "computer_s": computer,
            **{f"{name}_s": after[name] - engines[name] for name in ("kafka", "postgres")},
        }  # fmt: skip
