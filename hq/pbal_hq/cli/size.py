"""`pbal-hq size`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from pbal_hq.cli.base import JsonOption, print_json, print_table
from pbal_hq.sizing import Assumed, Costs, Size, costs_of, size

_A = Assumed()
_FLEETS = (1_500, 100_000, 10_000_000)  # a district, a state, a country


def print_size(
    transformers: Annotated[
        list[int] | None, typer.Option(min=1, help="How many; repeat for several fleets.")
    ] = None,
    window_s: Annotated[float, typer.Option(min=1, max=3600, help="A summary each, s.")] = 300.0,
    headroom: Annotated[float, typer.Option(min=1, help="Times the load that fits.")] = _A.headroom,
    core_speed: Annotated[
        float, typer.Option(min=0.1, help="Of a core, over one that measured.")
    ] = _A.core_speed,
    machine_cores: Annotated[int, typer.Option(min=1, help="Of one machine.")] = _A.machine_cores,
    machine_price: Annotated[
        float, typer.Option(min=0, help="A month; an assumption.")
    ] = _A.machine_price,
    disk_price: Annotated[
        float, typer.Option(min=0, help="A terabyte and month; an assumption.")
    ] = _A.disk_price,
    timescale: Annotated[
        bool, typer.Option(help="The database has TimescaleDB, which compresses days.")
    ] = _A.timescale,
    costs: Annotated[
        Path | None, typer.Option(help="Your own figures: JSON of bench.hq --profile large.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Say what a fleet needs: processors, disks, machines, money. Example: pbal-hq size

    By what a summary was measured to cost (docs/scale.md). Without --transformers a district, a
    state and a country.
    """
    assumed = dataclasses.replace(
        _A, headroom=headroom, core_speed=core_speed, machine_cores=machine_cores,
        machine_price=machine_price, disk_price=disk_price,
        timescale=timescale,
    )  # fmt: skip
    measured = costs_of(costs) if costs else Costs()
    found = [size(n, window_s, measured, assumed) for n in transformers or _FLEETS]
    if json_:
        print_json([dataclasses.asdict(each) | {"fits_one": each.fits_one} for each in found])
        return
    table(found, assumed)


def table(found: list[Size], assumed: Assumed) -> None:
    """Print what fleets need, side by side."""
    print_table(("", *(f"{each.transformers:,}" for each in found)), _rows(found, assumed))


def _rows(found: list[Size], assumed: Assumed) -> list[list[str]]:
    lines: list[tuple[str, list[str]]] = [
        ("summaries a second", [f"{each.summaries_per_s:,.1f}" for each in found]),
        *(
            (f"cores busy: {name}", [f"{each.cores[name]:,.3f}" for each in found])
            for name in found[0].cores
        ),
        (
            f"cores with {assumed.headroom:g} times that load",
            [f"{each.cores_for_headroom:,.1f}" for each in found],
        ),
        ("of them PostgreSQL", [f"{each.database_cores_for_headroom:,.1f}" for each in found]),
        *(
            (f"TB: {name}", [f"{each.terabytes[name]:,.2f}" for each in found])
            for name in found[0].terabytes
        ),
        (f"machines of {assumed.machine_cores} cores", [f"{each.machines:,}" for each in found]),
        ("a month, at the prices assumed", [f"{each.price_month:,.0f}" for each in found]),
    ]
    return [[words, *cells] for words, cells in lines]
