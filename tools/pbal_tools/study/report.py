"""The page a planner reads: one self-contained HTML file, pictures inside, nothing fetched."""

from html import escape
from typing import Any

import numpy as np

from .drawing import COLOURS
from .figures import all_figures
from .output import share_of_hindsight
from .run import Study

_CSS = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,"Segoe UI",Roboto,"Liberation Sans",sans-serif;color:#1d232b;
 margin:0;background:#fff}
main{max-width:860px;margin:0 auto;padding:40px 24px 64px}
h1{font-size:27px;line-height:1.25;margin:0 0 6px}h2{font-size:19px;margin:44px 0 4px}
p{margin:6px 0 12px;max-width:74ch}.sub{color:#5b636e;margin-bottom:24px}
.lead{font-size:19px;line-height:1.45;
 border-left:4px solid #0a6ebd;padding:4px 0 4px 16px;margin:22px 0}
table{border-collapse:collapse;width:100%;
 font-size:14.5px;font-variant-numeric:tabular-nums;margin:14px 0}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid #e6e8ec;vertical-align:top}
th:first-child,td:first-child{text-align:left;padding-left:0}
thead th{border-bottom:2px solid #9aa1ab;font-weight:600;vertical-align:bottom}
tr.group td{font-weight:600;padding-top:16px;border-bottom:1px solid #9aa1ab}
td{white-space:nowrap}td:first-child{white-space:normal;min-width:190px}
td.pbal,th.pbal{background:#eef6fc}
.bad{color:#b3261e;font-weight:600}.good{color:#256b35}.quiet{color:#5b636e}
figure{margin:14px 0 6px}figure svg{width:100%;height:auto;display:block}
figcaption{color:#5b636e;font-size:14px;max-width:74ch}
ul{padding-left:20px;max-width:74ch}li{margin:4px 0}
.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px}
@media print{main{max-width:none;padding:0}figure,table{break-inside:avoid}}
"""

_CAPTIONS = {
    "day": (
        "The street's worst day",
        "Neutral current at the transformer, step by step, on the day on which it was highest "
        "as built.",
    ),
    "neutral": (
        "Neutral current",
        "Load duration curve: the value that is reached or exceeded for each share of the time. "
        "Lower is better.",
    ),
    "hours": ("By the hour", "Mean neutral current at each time of the day."),
    "phases": (
        "Phase currents",
        "Load duration curves of the three phases at the transformer. Where the three lines lie on "
        "each other, the phases carry the same load. Dotted: rated current, if it is near.",
    ),
    "losses": (
        "Losses",
        "What lines and transformer lose in this period, and what it costs.",
    ),
    "vuf": (
        "Voltage unbalance",
        "Negative over positive sequence voltage (VUF), 10-minute values, at each controller's "
        "worst bus.",
    ),
    "pvur": (
        "Unbalance of the voltages' magnitudes",
        "Largest deviation of a phase voltage from the mean of the three, over that mean (PVUR), "
        "step by step, at whichever home's bus is worst.",
    ),
    "volts": (
        "Voltages",
        "From the lowest to the highest 10-minute voltage at each home's meter over the whole "
        "period.",
    ),
    "loading": (
        "Transformer loading",
        "Current of the most loaded phase over the rated current, as a duration curve.",
    ),
    "hot_spot": (
        "Transformer temperature",
        "Hot-spot temperature after IEC 60076-7, as a duration curve.",
    ),
    "life": (
        "Transformer life",
        "Insulation life used since the beginning, after IEC 60076-7. At normal ageing it would "
        "grow by 24 hours a day.",
    ),
    "switchings": (
        "Switchings per home",
        "How the work is spread over the relays.",
    ),
    "relays": (
        "Which homes first",
        "How much of the full benefit the first relays bring, if homes get them in the "
        "recommended order.",
    ),
}


def _pct(value: float | None, digits: int = 0) -> str:
    return "&ndash;" if value is None else f"{value * 100:.{digits}f} %"


def _num(value: float | None, digits: int = 1) -> str:
    return "&ndash;" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def headline(study: Study) -> str:
    """The answer in one or two sentences of plain text."""
    base = study.summary["as_built"]
    if "pbal" not in study.summary:
        mean = _num(base["neutral_a"]["mean"])
        return f"As built, this street has a mean neutral current of {mean} A."
    own = study.summary["pbal"]
    neutral = own["neutral_a"]
    verb = "cut" if neutral["cut"] >= 0 else "raise"
    text = (
        f"On this street pbal would {verb} the mean neutral current by "
        f"{_pct(abs(neutral['cut']))}, "
        f"from {_num(base['neutral_a']['mean'])} A to {_num(neutral['mean'])} A"
    )
    if abs(neutral["cut"]) < 0.005:
        mean = _num(base["neutral_a"]["mean"])
        text = f"On this street pbal would leave the mean neutral current as it is, at {mean} A"
    if "losses" in own:
        cut = own["losses"]["cut"]
        kwh = own["losses"]["saved_kwh_per_year"]
        text += (
            f", and {'cut' if cut >= 0 else 'raise'} the losses in lines and transformer by "
            f"{_pct(abs(cut), 1)} ({_num(abs(kwh), 0)} kWh a year, "
            f"{_num(abs(own['losses']['saved_per_year']), 0)} {study.options.currency})"
        )
    text += f", with {own['switchings']['per_home_per_day']:.1f} switchings per relay per day."
    share = share_of_hindsight(study)
    if share is not None and share >= 0.005:
        text += (
            f" That is {_pct(share)} of the neutral-current cut that perfect foresight could reach."
        )
    static = study.summary.get("best_static")
    if static is not None:
        cut = static["neutral_a"]["cut"]
        text += (
            " Re-connecting every home once, with this period known in advance, would "
            f"{'cut' if cut >= 0 else 'raise'} it by {_pct(abs(cut))}."
        )
    return text


def render(study: Study) -> str:
    """The whole page."""
    feeder, options = study.feeder, study.options
    pictures = all_figures(study)
    end = study.profiles.start + np.timedelta64(round(study.days * 86400), "s")
    period = f"{str(study.profiles.start)[:10]} to {str(end)[:10]}"
    sub = (
        f"{feeder.n_homes} homes "
        f"({', '.join(f'{(feeder.phases == p).sum()} on {q}' for p, q in enumerate('ABC'))}), "
        f"{int(study.relays.sum())} with a relay. "
        f"{_num(study.days, 0 if study.days >= 2 else 1)} days, {period}, "
        f"one value every {study.profiles.step_s} s."
    )
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width,initial-scale=1'>",
        f"<title>pbal study: {escape(feeder.name)}</title><style>{_CSS}</style></head><body><main>",
        f"<h1>What phase balancing would do for {escape(feeder.name)}</h1>",
        f"<p class='sub'>{escape(sub)}</p>",
        f"<p class='lead'>{escape(headline(study))}</p>",
        "<h2>Side by side</h2>",
        _table(study),
        "<p class='quiet'>As built: every home where it is now. Best static: all homes "
        "re-connected once, "
        "chosen with the whole period known. Hindsight optimum: knows the future, neutral "
        "current only, and "
        "switches as often as pbal did; a yardstick, not a product. ✓ and ✗: the EN 50160 "
        "test.</p>",
    ]
    for name, (title, caption) in _CAPTIONS.items():
        if name in pictures:
            parts.append(
                f"<h2>{title}</h2><figure>{pictures[name]}<figcaption>{escape(caption)}</figcaption></figure>"
            )
            if name == "relays":
                parts.append(_relay_text(study))
    parts += [
        "<h2>Assumptions</h2>",
        _list(_assumptions(study)),
        "<h2>Honest limits</h2>",
        _list(_limits(study)),
    ]
    parts.append(
        f"<p class='quiet'>Made with pbal study. Seed {options.seed}; study.json beside this "
        "page holds every "
        "option and figure.</p></main></body></html>"
    )
    return "\n".join(parts)


def _table(study: Study) -> str:
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
    row("mean, A", lambda s: _num(s["neutral_a"]["mean"]))
    row("cut", lambda s: _change(s["neutral_a"]["cut"]))
    row("exceeded 5 % of the time, A", lambda s: _num(s["neutral_a"]["p95"]))
    row("highest, A", lambda s: _num(s["neutral_a"]["max"]))
    row("highest phase current, A", lambda s: _num(max(s["phase_a"]["max"]), 0))
    first = study.summary[columns[0]]
    if "losses" in first:
        group("Losses in lines and transformer")
        row("kWh in this period", lambda s: _num(s["losses"]["kwh"]))
        row(
            f"their cost, {escape(study.options.currency)}",
            lambda s: _num(s["losses"]["cost"], 2 if s["losses"]["cost"] < 100 else 0),
        )
        row("share of energy", lambda s: _pct(s["losses"]["share_of_energy"], 2))
        row("cut", lambda s: _change(s["losses"]["cut"], 1))
        row(
            "saved a year, kWh",
            lambda s: "&ndash;" if s is first else _num(s["losses"]["saved_kwh_per_year"], 0),
        )
        row(
            f"saved a year, {escape(study.options.currency)}",
            lambda s: "&ndash;" if s is first else _num(s["losses"]["saved_per_year"], 0),
        )
        group("Voltage quality")
        row("VUF, worst bus, 95th percentile", lambda s: _pct(s["vuf"]["worst_home_p95"], 2))
        row(
            "VUF within 2 %, EN 50160",
            lambda s: _verdict(s["vuf"]["en50160_passed"], s["vuf"]["en50160_sites_failed"], "bus"),
        )
        row("PVUR, worst bus, 95th percentile", lambda s: _pct(s["pvur"]["p95"], 2))
        row("lowest voltage, V", lambda s: _num(s["voltage"]["min_v"]))
        row("at home", lambda s: escape(s["voltage"]["min_home"]))
        row("highest voltage, V", lambda s: _num(s["voltage"]["max_v"]))
        row(
            "voltage within ±10 %, EN 50160",
            lambda s: _verdict(
                s["voltage"]["en50160_passed"], s["voltage"]["en50160_homes_failed"], "home"
            ),
        )
    if "transformer" in first:
        group("Transformer (IEC 60076-7)")
        row("highest phase load", lambda s: _pct(s["transformer"]["peak_load"]))
        row("highest hot-spot, °C", lambda s: _num(s["transformer"]["peak_hot_spot_c"]))
        row("ageing, 1 = normal", lambda s: _small(s["transformer"]["ageing_rate"]))
        row("insulation life used, h", lambda s: _small(s["transformer"]["life_used_h"]))
    group("Relays")
    row(
        "switchings per home per day",
        lambda s: _num(s["switchings"]["per_home_per_day"] or None, 2),
    )
    row(
        "least / median / most",
        lambda s: " / ".join(
            _num(s["switchings"][k]) for k in ("least_per_day", "median_per_day", "most_per_day")
        ),
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _small(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 10 else _num(value, 0)


def _change(cut: float, digits: int = 0) -> str:
    if abs(cut) < 0.0005:
        return "&ndash;"
    kind = "good" if cut > 0 else "bad"
    text = _pct(cut, digits) if cut > 0 else f"worse by {_pct(-cut, digits)}"
    return f"<span class='{kind}'>{text}</span>"


def _verdict(passed: bool, failed: int, what: str) -> str:
    if passed:
        return "<span class='good'>✓</span>"
    plural = {"bus": "buses", "home": "homes"}[what] if failed != 1 else what
    return f"<span class='bad'>✗ {failed} {plural}</span>"


def _relay_text(study: Study) -> str:
    names = [study.feeder.homes[k].name for k in study.relay_order]
    third = max(1, round(len(names) / 3))
    text = f"First third, in this order: <b>{escape(', '.join(names[:third]))}</b>."
    share = {b.choice: b.share_of_all for b in study.benefits if b.relays == third}
    if share:
        days = _num(min(study.days, study.options.rank_days), 0)
        other = next((s for c, s in share.items() if c != study.relay_choice), None)
        text += (
            f" With relays on these {third} homes alone, pbal reaches "
            f"{_pct(share[study.relay_choice])} of the cut it reaches with a relay on every home"
        )
        how = {"ranked": "by marginal benefit", "heaviest": "heaviest first"}
        text += f" (measured on the first {days} days, every home metered). "
        text += f"The order is {how[study.relay_choice]}"
        if other is not None:
            unused = next(c for c in how if c != study.relay_choice)
            text += f"; {how[unused]}, the same number of relays reaches {_pct(other)}"
        text += "."
    return f"<p>{text} The full order is in homes.csv.</p>"


def _list(items: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _assumptions(study: Study) -> list[str]:
    o, loop = study.options, study.options.loop
    items = [
        f"pbal decides every {max(loop.period_s, study.profiles.step_s)} s on the mean of the "
        "last complete step"
        + (f", {loop.delay_s} s old" if loop.delay_s else "")
        + f"; a home rests {loop.dwell_s / 60:g} minutes between switchings, at most "
        f"{loop.daily_cap} a day.",
        f"{_pct(loop.failure_rate, 1)} of readings are lost, as many commands are not carried out."
        if loop.failure_rate
        else "No reading is lost and every command is carried out (--failure-rate).",
        _relay_assumption(study),
        "pbal weighs "
        + (
            "losses by the feeder's impedance and neutral current"
            if loop.use_feeder
            else "the neutral current only"
        )
        + f"; {_price(loop.price, loop.budget_per_day, loop.use_feeder)}.",
        "Loads follow voltage as the feeder file says."
        if o.load_model == "feeder" and o.feeder
        else "Loads draw the profile's watts at any voltage.",
    ]
    if study.cars:
        items.append(
            f"Cars added at {len(study.cars)} homes: {o.ev.charger_kw:g} kW, "
            f"{o.ev.energy_kwh:g} kWh a session, arriving about {o.ev.arrival_h:g} h."
        )
    if study.roofs:
        items.append(
            f"Solar roofs added at {len(study.roofs)} homes: {o.pv.peak_kw:g} kW peak on "
            f"average, latitude {o.pv.latitude_deg:g}°, invented weather."
        )
    if study.feeder.exact:
        items.append(
            f"Losses are valued at {o.tariff:g} {o.currency}/kWh and scaled to a year by days."
        )
    if study.feeder.transformer.rated_current_a > 0:
        items.append(
            f"Transformer {study.feeder.transformer.rated_kva:g} kVA, ONAN, {o.ambient_c:g} °C "
            "ambient; IEC 60076-7: top-oil rise 55 K, "
            "hot-spot gradient 23 K, R = 5, x = 0.8, y = 1.6, 180 and 4 min, k11 = 1, k21 = 1, "
            "k22 = 2; oil heated by the mean of "
            "the phases' losses, hot spot in the most loaded phase."
        )
    if study.engine_difference_a is not None:
        items.append(
            "The power flow was held against the OpenDSS engine on twelve moments of this study, "
            f"the busiest among them: currents differ by at most {study.engine_difference_a:.2g} A."
        )
    return [*items, *study.notes]


def _price(price: float | None, budget: float | None, watts: bool) -> str:
    """What limits the switchings, in words."""
    unit = "W" if watts else "A²"
    if budget is not None:
        return f"the price of a switching adapts to a budget of {budget:g} per home per day"
    if price is None:
        return "the price of a switching is the planner's own"
    return f"a switching must save {price:g} {unit}"


def _relay_assumption(study: Study) -> str:
    have, homes = int(study.relays.sum()), study.feeder.n_homes
    if have == homes:
        return "Every home has a relay."
    others = {
        "unseen": "homes without a relay have no node, and pbal does not see them",
        "metered": "homes without a relay have a node that only measures",
        "remainder": "a meter at the transformer shows pbal what the other homes draw together",
    }[study.options.loop.others]
    how = "at random" if study.options.relay_choice == "random" else "heaviest first"
    listed = "from the list of homes, the rest " if study.options.homes else ""
    return f"{have} of {homes} homes have a relay, {listed}chosen {how}; {others}."


def _limits(study: Study) -> list[str]:
    items = [
        f"One value every {study.profiles.step_s} s: what happens within a step is averaged "
        "away. pbal itself sees seconds.",
        "Meters are taken as exact. Harmonics are not modelled; third harmonics add up in the "
        "neutral and cannot be balanced.",
        "The neutral current is the phasor sum at the transformer: conductor and earth together.",
        "The hindsight optimum is a very good solution, not a proven one, and works on the "
        "neutral current alone.",
    ]
    if study.days < 28:
        items.append(
            f"{_num(study.days, 0 if study.days >= 2 else 1)} days are not a year: seasons, and "
            "so the figures per year, will differ."
        )
    hottest = max(
        (s["transformer"]["peak_hot_spot_c"] for s in study.summary.values() if "transformer" in s),
        default=0.0,
    )
    if hottest > 140:
        items.append(
            f"A hot spot of {hottest:.0f} °C is beyond the 140 °C that IEC 60076-7 allows even in "
            "an emergency: what the transformer would age there is formal."
        )
    weeks = next(iter(study.summary.values())).get("vuf", {}).get("complete_weeks")
    if weeks == 0:
        items.append("Less than one whole week: the EN 50160 verdicts are an indication only.")
    if not study.feeder.exact:
        items.append(
            "Without a feeder model there are no voltages, no VUF and no losses. Give "
            "--feeder, or --main-ohm for a rough figure."
        )
    if not study.relays.all() and study.options.loop.others == "unseen":
        items.append(
            "pbal balances only what it sees. --others metered or --others remainder shows what "
            "measuring the other homes would add."
        )
    if study.cars or study.roofs:
        items.append("Added cars and roofs are drawn from simple statistics, not measured.")
    return items
