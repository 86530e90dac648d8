"""The ranking of transformers, and the totals over them."""

import math
from dataclasses import dataclass
from typing import Any

from .job import Row

BY = {
    "money": ("net_present_value", "net present value"),
    "return": ("return", "net present value per unit invested"),
    "capacity": ("capacity_released_kw", "capacity released"),
    "violations": ("violations_gone", "violations gone"),
    "losses": ("losses_saved_kwh_per_year", "losses saved"),
    "neutral": ("neutral_cut", "cut of the neutral current"),
}
"""What stations can be ranked by: the word, its column, and how it is called."""


def value_of(row: Row, by: str) -> float:
    """What a row is ranked by; minus infinity where it is not known."""
    if row["status"] != "done":
        return -math.inf
    if by == "return":
        value, invested = row["net_present_value"], row["invested"]
        return -math.inf if value is None or not invested else float(value) / float(invested)
    value = row[BY[by][0]]
    return -math.inf if value is None else float(value)


def chosen(rows: list[Row]) -> str:
    """What to rank by unless it is chosen: money where it is known of any, else capacity."""
    money = any(row["net_present_value"] is not None for row in rows)
    return "money" if money else "capacity"


def ranked(rows: list[Row], by: str) -> list[Row]:
    """Best first, each with its `rank`; the failed ones, which have none, at the end. Equal ones
    by their names."""
    done = [row for row in rows if row["status"] == "done"]
    done.sort(key=lambda row: (-value_of(row, by), str(row["station"])))
    lost = sorted((r for r in rows if r["status"] != "done"), key=lambda row: str(row["station"]))
    return [
        *({"rank": k, **row} for k, row in enumerate(done, start=1)),
        *({"rank": None, **row} for row in lost),
    ]


@dataclass(frozen=True)
class Totals:
    """Sums over stations that were studied; of what is not known, over those where it is."""

    stations: int
    failed: int
    homes: int
    pays: int
    """Stations with a net present value above zero."""
    money_known: int
    invested: float
    net_present_value: float
    losses_saved_kwh_per_year: float
    capacity_released_kw: float
    violations_built: int
    violations_gone: int
    freed: int
    """Stations with violations as built and none with pbal."""
    seconds: float
    """Of processor, over all workers."""


def totals(rows: list[Row], only: str = "") -> Totals:
    """Over all rows; only: "pays" for those that pay alone."""
    done = [row for row in rows if row["status"] == "done"]
    paying = [row for row in done if (row["net_present_value"] or 0.0) > 0]
    counted = paying if only == "pays" else done

    def total(column: str) -> Any:
        return sum(row[column] for row in counted if row[column] is not None)

    return Totals(
        stations=len(counted),
        failed=len(rows) - len(done),
        homes=total("homes"),
        pays=len(paying),
        money_known=sum(row["net_present_value"] is not None for row in done),
        invested=float(total("invested")),
        net_present_value=float(total("net_present_value")),
        losses_saved_kwh_per_year=float(total("losses_saved_kwh_per_year")),
        capacity_released_kw=float(total("capacity_released_kw")),
        violations_built=int(total("violations_built")),
        violations_gone=int(total("violations_gone")),
        freed=sum(bool(r["violations_built"]) and not r["violations_pbal"] for r in counted),
        seconds=float(total("seconds")),
    )
