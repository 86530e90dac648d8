"""The report's table: the controllers side by side, figure by figure."""

from html import escape
from typing import Any

from ..run.money import as_a_year
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
    row("highest phase current over 10 minutes, A", lambda s: num(s["peak_10min"]["phase_a"], 0))
    first = study.summary[columns[0]]
    if "losses" in first:
        group("Losses in lines and transformer")
        row("kWh in this period", lambda s: num(s["losses"]["kwh"]))
        row(
            f"their cost, {escape(study.options.money.currency)}",
            lambda s: num(s["losses"]["cost"], 2 if s["losses"]["cost"] < 100 else 0),
        )
        row("share of energy", lambda s: pct(s["losses"]["share_of_energy"], 2))
        row("cut", lambda s: _change(s["losses"]["cut"], 1))
        row(
            f"saved a year, kWh ({as_a_year(study.days)})",
            lambda s: "&ndash;" if s is first else num(s["losses"]["saved_kwh_per_year"], 0),
        )
        row(
            f"saved a year, {escape(study.options.money.currency)} ({as_a_year(study.days)})",
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
        row("highest phase load over 10 minutes", lambda s: pct(s["peak_10min"]["loading"]))
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


def money_table(study: Study) -> str:
    """Money of the controllers that need relays, as HTML; a year's figures say what they are of."""
    names = [n for n in ("pbal", "hindsight") if n in study.summary]
    if not names:
        return ""
    unit, of = escape(study.options.money.currency), as_a_year(study.days)
    losses = "losses and carbon" if study.options.money.carbon_price > 0 else "losses"
    lines = (
        (f"cost of relays and controller, {unit}", "invested", 0),
        (f"{losses} saved a year, {unit} ({of})", "saved_per_year", 0),
        (f"wear of relays a year, {unit} ({of})", "wear_per_year", 1),
        (f"carbon saved a year, kg ({of})", "carbon_kg_per_year", 0),
        ("pay-back, years", "pay_back_years", 1),
        (f"net present value, {unit}", "net_present_value", 0),
        ("capacity released, kW", "capacity_released_kw", 1),
        ("still fits at the peak, kW", "room_kw", 1),
    )
    head = "".join(f"<th class='{n}'>{escape(study.summary[n]['title'])}</th>" for n in names)
    rows = "".join(
        f"<tr><td>{label}</td>"
        + "".join(
            f"<td class='{n}'>{num(study.summary[n]['money'].get(key), digits)}</td>" for n in names
        )
        + "</tr>"
        for label, key, digits in lines
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def objectives_table(study: Study) -> str:
    """pbal with either objective on the first days, as HTML; empty where one only is known."""
    if not study.objectives:
        return ""
    rows = "".join(
        f"<tr><td>{escape(w.objective)}</td><td>{_change(w.neutral_cut)}</td>"
        f"<td>{_change(w.loss_cut, 1)}</td><td>{num(w.peak_phase_a, 0)}</td>"
        f"<td>{num(w.switchings_per_home_per_day, 2)}</td></tr>"
        for w in study.objectives
    )
    return (
        "<table><thead><tr><th>objective</th><th>neutral cut</th><th>losses cut</th>"
        "<th>highest phase over 10 minutes, A</th><th>switchings per home per day</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )


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
