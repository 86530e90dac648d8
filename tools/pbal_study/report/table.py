"""The report's table: the controllers side by side, figure by figure."""

from html import escape
from typing import Any

from ..run.study import Study
from .drawing import COLOURS
from .sentences import num, pct


def side_by_side(study: Study) -> str:
    """The table as HTML."""
    columns = list(study.summary)
    head = "".join(
        f"<th class='{name}'><span class='key' style='background:{COLOURS[name]}'></span>"
        f"{escape(study.summary[name]['title'])}</th>"
        for name in columns
    )
    rows: list[str] = []

    def row(label: str, get: Any) -> None:
        cells = "".join(f"<td class='{n}'>{get(study.summary[n])}</td>" for n in columns)
        rows.append(f"<tr><td>{label}</td>{cells}</tr>")

    def group(label: str) -> None:
        rows.append(f"<tr class='group'><td colspan='{len(columns) + 1}'>{label}</td></tr>")

    group("Neutral current at the transformer")
    row("mean, A", lambda s: num(s["neutral_a"]["mean"]))
    row("cut", lambda s: _change(s["neutral_a"]["cut"]))
    row("exceeded 5 % of the time, A", lambda s: num(s["neutral_a"]["p95"]))
    row("highest, A", lambda s: num(s["neutral_a"]["max"]))
    row("highest phase current, A", lambda s: num(max(s["phase_a"]["max"]), 0))
    first = study.summary[columns[0]]
    if "losses" in first:
        group("Losses in lines and transformer")
        row("kWh in this period", lambda s: num(s["losses"]["kwh"]))
        row(
            f"their cost, {escape(study.options.currency)}",
            lambda s: num(s["losses"]["cost"], 2 if s["losses"]["cost"] < 100 else 0),
        )
        row("share of energy", lambda s: pct(s["losses"]["share_of_energy"], 2))
        row("cut", lambda s: _change(s["losses"]["cut"], 1))
        row(
            "saved a year, kWh",
            lambda s: "&ndash;" if s is first else num(s["losses"]["saved_kwh_per_year"], 0),
        )
        row(
            f"saved a year, {escape(study.options.currency)}",
            lambda s: "&ndash;" if s is first else num(s["losses"]["saved_per_year"], 0),
        )
        group("Voltage quality")
        row("VUF, worst bus, 95th percentile", lambda s: pct(s["vuf"]["worst_home_p95"], 2))
        row(
            "VUF within 2 %, EN 50160",
            lambda s: _verdict(s["vuf"]["en50160_passed"], s["vuf"]["en50160_sites_failed"], "bus"),
        )
        row("PVUR, worst bus, 95th percentile", lambda s: pct(s["pvur"]["p95"], 2))
        row("lowest voltage, V", lambda s: num(s["voltage"]["min_v"]))
        row("at home", lambda s: escape(s["voltage"]["min_home"]))
        row("highest voltage, V", lambda s: num(s["voltage"]["max_v"]))
        row(
            "voltage within ±10 %, EN 50160",
            lambda s: _verdict(
                s["voltage"]["en50160_passed"], s["voltage"]["en50160_homes_failed"], "home"
            ),
        )
    if "transformer" in first:
        group("Transformer (IEC 60076-7)")
        row("highest phase load", lambda s: pct(s["transformer"]["peak_load"]))
        row("highest hot-spot, °C", lambda s: num(s["transformer"]["peak_hot_spot_c"]))
        row("ageing, 1 = normal", lambda s: _small(s["transformer"]["ageing_rate"]))
        row("insulation life used, h", lambda s: _small(s["transformer"]["life_used_h"]))
    group("Relays")
    row(
        "switchings per home per day",
        lambda s: num(s["switchings"]["per_home_per_day"] or None, 2),
    )
    row(
        "least / median / most",
        lambda s: " / ".join(
            num(s["switchings"][k]) for k in ("least_per_day", "median_per_day", "most_per_day")
        ),
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _small(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 10 else num(value, 0)


def _change(cut: float, digits: int = 0) -> str:
    if abs(cut) < 0.0005:
        return "&ndash;"
    kind = "good" if cut > 0 else "bad"
    text = pct(cut, digits) if cut > 0 else f"worse by {pct(-cut, digits)}"
    return f"<span class='{kind}'>{text}</span>"


def _verdict(passed: bool, failed: int, what: str) -> str:
    if passed:
        return "<span class='good'>✓</span>"
    plural = {"bus": "buses", "home": "homes"}[what] if failed != 1 else what
    return f"<span class='bad'>✗ {failed} {plural}</span>"
