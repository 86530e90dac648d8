"""The fleet's report: one self-contained HTML file, nothing fetched."""

from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from ..report.drawing import figure, inline
from ..report.page import CSS
from ..report.sentences import num, pct
from ..run.money import as_a_year
from .job import Row
from .ranking import BY, value_of
from .study import Fleet

SHOWN = 200
"""Stations in the report's table; the CSV has all."""
_MANY = 2000
_GOOD, _POOR, _LOST = "#256b35", "#c77d0a", "#8a8f98"


def headline(fleet: Fleet) -> str:
    """What came out, in plain text."""
    total, pay = fleet.all_of_them, fleet.those_that_pay
    unit = fleet.options.shared.money.currency
    lost = f" {total.failed} could not be studied." if total.failed else ""
    if not total.stations:
        return f"No station could be studied.{lost}"
    if total.money_known:
        text = (
            f"Of {total.stations} stations, {total.pays} pay by the losses they save "
            f"({_year(fleet)}): they cost "
            f"{pay.invested:,.0f} {unit}, and their net present value is "
            f"{pay.net_present_value:,.0f} {unit}."
        )
        if not total.pays:
            text = (
                f"By the losses they save alone ({_year(fleet)}), none of {total.stations} "
                "stations pays."
            )
    else:
        text = f"{total.stations} stations were studied without a feeder: losses are not known."
    text += f" All together release {total.capacity_released_kw:,.0f} kW of capacity"
    if total.violations_built:
        text += (
            f", and {total.violations_gone:,} of {total.violations_built:,} violations go; "
            f"{total.freed} stations have none left"
        )
    return f"{text}.{lost}"


def _year(fleet: Fleet) -> str:
    """How figures a year were made from what was studied; empty where nothing was."""
    days = sorted({row["days"] for row in fleet.rows if row["status"] == "done"})
    return ", ".join(as_a_year(d) for d in days[:3]) + (", ..." if len(days) > 3 else "")


def render(fleet: Fleet) -> str:
    """The whole page."""
    year = _year(fleet)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width,initial-scale=1'>",
        f"<title>pbal study: a fleet</title><style>{CSS}</style></head><body><main>",
        "<h1>Which transformers first</h1>",
        f"<p class='sub'>{len(fleet.rows)} stations, ranked by {BY[fleet.rank_by][1]}. Figures a "
        f"year: {escape(year or 'none')}.</p>",
        f"<p class='lead'>{escape(headline(fleet))}</p>",
        _picture("Money along the ranking", _money(fleet), "money", _MONEY),
        _picture("Capacity and violations along the ranking", _gains(fleet), "gains", _GAINS),
        _picture("Map", _map(fleet), "map", _MAP),
        f"<h2>The first {min(SHOWN, fleet.all_of_them.stations)}</h2>",
        f"<div class='wide'>{_table(fleet)}</div>",
        _failures(fleet.rows),
        "<h2>Assumptions</h2>",
        _assumptions(fleet),
        "</main></body></html>",
    ]
    return "\n".join(part for part in parts if part)


_MONEY = (
    "What the first stations of the ranking cost together, and what they are worth: to the right "
    "of the summit every further station costs more than it brings."
)
_GAINS = "What the first stations of the ranking bring together."
_MAP = (
    "Every station by longitude and latitude. Green: its net present value is above zero, or "
    "violations go. Grey: not studied. fleet.geojson opens in any GIS."
)


def _picture(title: str, svg: str, name: str, caption: str) -> str:
    if not svg:
        return ""
    return (
        f"<h2>{title}</h2><figure><div>{inline(svg, name, title)}</div>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _done(fleet: Fleet) -> list[Row]:
    return [row for row in fleet.rows if row["status"] == "done"]


def _sums(rows: list[Row], column: str) -> Any:
    return np.cumsum([0.0, *(float(row[column] or 0.0) for row in rows)])


def _money(fleet: Fleet) -> str:
    rows = [row for row in _done(fleet) if row["net_present_value"] is not None]
    if len(rows) < 2:
        return ""
    unit = fleet.options.shared.money.currency
    with figure(8.4, 3.0) as (_, ax, out):
        ax.plot(_sums(rows, "invested"), _sums(rows, "net_present_value"), color="#0a6ebd")
        ax.axhline(0, color="#9aa1ab", linewidth=1)
        ax.set(xlabel=f"invested, {unit}", ylabel=f"net present value, {unit}")
    return out[0]


def _gains(fleet: Fleet) -> str:
    rows = _done(fleet)
    if len(rows) < 2:
        return ""
    with figure(8.4, 2.8, 2, alike=False) as (_, axes, out):
        for ax, column, label in (
            (axes[0], "capacity_released_kw", "capacity released, kW"),
            (axes[1], "violations_gone", "violations gone"),
        ):
            ax.plot(range(len(rows) + 1), _sums(rows, column), color="#0a6ebd")
            ax.set(xlabel="stations", ylabel=label)
    return out[0]


def _map(fleet: Fleet) -> str:
    rows = [r for r in fleet.rows if r["longitude"] is not None and r["latitude"] is not None]
    if not rows:
        return ""

    def colour(row: Row) -> str:
        if row["status"] != "done":
            return _LOST
        good = (row["net_present_value"] or 0) > 0 or (row["violations_gone"] or 0) > 0
        return _GOOD if good else _POOR

    middle = np.radians(np.mean([row["latitude"] for row in rows]))
    with figure(8.4, 6.0) as (_, ax, out):
        # A vector picture of very many points is larger than one of pixels.
        ax.scatter(
            [row["longitude"] for row in rows],
            [row["latitude"] for row in rows],
            s=14,
            c=[colour(row) for row in rows],
            rasterized=len(rows) > _MANY,
        )
        ax.set_aspect(1 / max(float(np.cos(middle)), 0.1), adjustable="datalim")
        ax.set(xlabel="longitude", ylabel="latitude")
    return out[0]


def _table(fleet: Fleet) -> str:
    unit = fleet.options.shared.money.currency
    cells: list[tuple[str, Callable[[Row], str]]] = [
        ("", lambda r: str(r["rank"])),
        ("station", lambda r: escape(str(r["station"]))),
        ("homes", lambda r: str(r["homes"])),
        ("neutral cut", lambda r: pct(r["neutral_cut"])),
        (f"net present value, {unit}", lambda r: num(r["net_present_value"], 0)),
        (f"invested, {unit}", lambda r: num(r["invested"], 0)),
        ("pay-back, years", lambda r: num(r["pay_back_years"])),
        ("highest phase, A", lambda r: _two(r, "peak_phase_a")),
        ("limit, A", lambda r: num(r["phase_limit_a"], 0)),
        ("released, kW", lambda r: num(r["capacity_released_kw"])),
        ("violations", lambda r: _two(r, "violations")),
    ]
    head = "".join(f"<th>{escape(name)}</th>" for name, _ in cells)
    body = "".join(
        "<tr>" + "".join(f"<td>{get(row)}</td>" for _, get in cells) + "</tr>"
        for row in _done(fleet)[:SHOWN]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _two(row: Row, column: str) -> str:
    """As built, then with pbal."""
    return " &rarr; ".join(num(row[f"{column}_{when}"], 0) for when in ("built", "pbal"))


def _failures(rows: list[Row]) -> str:
    lost = [row for row in rows if row["status"] != "done"]
    if not lost:
        return ""
    items = "".join(
        f"<li>{escape(str(row['station']))}: {escape(str(row['reason']))}</li>"
        for row in lost[:SHOWN]
    )
    more = f"<li>... and {len(lost) - SHOWN} more, in fleet.csv</li>" if len(lost) > SHOWN else ""
    return f"<h2>Not studied</h2><ul>{items}{more}</ul>"


def _assumptions(fleet: Fleet) -> str:
    shared = fleet.options.shared
    unknown = sum(value_of(row, fleet.rank_by) == -np.inf for row in _done(fleet))
    items = [
        "Each station is studied as `pbal study` does, as built and with pbal.",
        f"Homes without profiles of their own draw them from a pool, by class; seed {shared.seed}. "
        "Two stations may draw the same ones: sums over a fleet are surer than a single rank.",
        f"A relay costs {shared.money.relay_cost:g}, a controller "
        f"{shared.money.controller_cost:g} {shared.money.currency}; "
        f"{shared.money.years:g} years at {shared.money.discount:.0%}.",
        *fleet.notes,
    ]
    if unknown:
        items.append(f"Of {unknown} stations the ranking's figure is not known; they come last.")
    drawn = sum("drawn at random" in str(row["notes"]) for row in _done(fleet))
    if drawn:
        items.append(f"Phases are drawn at random in {drawn} stations, where they are not known.")
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
