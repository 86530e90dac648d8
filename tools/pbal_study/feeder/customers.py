"""One customer that is written as several loads, as some utilities' exports have it.

Brazil's networks, for one, come with two loads for each customer, a half as a constant impedance
and a half as a motor. They hang on one wire, so that they are one home: moved together, counted
once.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

from .model import LoadPoint
from .network import RawLoad
from .services import single_phase


def alike(raw: RawLoad) -> tuple[Any, ...]:
    """What two loads of one customer have in common: all but the load model and a number behind
    their name."""
    p = raw.point
    stem = p.name.lower().rstrip("0123456789")
    return p.bus.lower(), tuple(raw.nodes), p.kw, p.v_base, p.power_factor, p.leading, stem


def in_parts(loads: list[RawLoad]) -> list[list[RawLoad]]:
    """Groups of single-phase loads that differ in their load model alone, in file order."""
    groups: dict[tuple[Any, ...], list[RawLoad]] = {}
    for raw in loads:
        if single_phase(raw):
            groups.setdefault(alike(raw), []).append(raw)
    return [
        group
        for group in groups.values()
        if len(group) > 1 and max(Counter(raw.point.model for raw in group).values()) == 1
    ]


def join_customers(loads: list[RawLoad], notes: list[str]) -> list[RawLoad]:
    """The loads with one for each customer, named after the customer's first one.

    Parts with different shapes stay apart: their shares would change with time. `doubts` asks about
    those.
    """
    one: dict[int, LoadPoint] = {}
    gone: set[int] = set()
    joined = [group for group in in_parts(loads) if len({raw.shape for raw in group}) == 1]
    for first, *others in joined:
        points = tuple(raw.point for raw in others)
        kw = first.point.kw * (1 + len(points))
        one[id(first)] = replace(first.point, kw=kw, parts_of_it=points)
        gone.update(id(raw) for raw in others)
    if joined:
        names = " and ".join(raw.point.name for raw in joined[0])
        notes.append(
            f"{len(joined)} customer{'s are' if joined[1:] else ' is'} written as several loads "
            f"(first {names}: same bus, phase, kW and shape, other model): each is one home."
        )
    return [
        replace(raw, point=one[id(raw)]) if id(raw) in one else raw
        for raw in loads
        if id(raw) not in gone
    ]
