"""The report's sentences: the answer in short, who should get a relay, assumptions and limits."""

from html import escape
from itertools import pairwise

import numpy as np

from ..input.homes import n_relays
from ..run.money import as_a_year, verdict
from ..run.study import Study
from .files import share_of_hindsight

DOUBT = "Beware: "


def pct(value: float | None, digits: int = 0) -> str:
    """A share as a percentage, for HTML."""
    return "&ndash;" if value is None else f"{value * 100:.{digits}f} %"


def num(value: float | None, digits: int = 1) -> str:
    """A number with thin groups, for HTML; what rounds to zero has no sign."""
    if value is None:
        return "&ndash;"
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace(",", " ")


def headline(study: Study) -> str:
    """The answer in one or two sentences of plain text."""
    base = study.summary["as_built"]
    if "pbal" not in study.summary:
        mean = num(base["neutral_a"]["mean"])
        return f"As built, this street has a mean neutral current of {mean} A."
    own = study.summary["pbal"]
    neutral = own["neutral_a"]
    verb = "cut" if neutral["cut"] >= 0 else "raise"
    text = (
        f"On this street pbal would {verb} the mean neutral current by "
        f"{pct(abs(neutral['cut']))}, "
        f"from {num(base['neutral_a']['mean'])} A to {num(neutral['mean'])} A"
    )
    if abs(neutral["cut"]) < 0.005:
        mean = num(base["neutral_a"]["mean"])
        text = f"On this street pbal would leave the mean neutral current as it is, at {mean} A"
    if "losses" in own:
        cut = own["losses"]["cut"]
        kwh = own["losses"]["saved_kwh_per_year"]
        text += (
            f", and {'cut' if cut >= 0 else 'raise'} the losses in lines and transformer by "
            f"{pct(abs(cut), 1)} ({num(abs(kwh), 0)} kWh a year, "
            f"{num(abs(own['losses']['saved_per_year']), 0)} {study.options.money.currency}, "
            f"{as_a_year(study.days)})"
        )
    text += f", with {own['switchings']['per_home_per_day']:.1f} switchings per relay per day."
    share = share_of_hindsight(study)
    if share is not None and share >= 0.005:
        text += (
            f" That is {pct(share)} of the neutral-current cut that perfect foresight could reach."
        )
    static = study.summary.get("best_static")
    if static is not None:
        cut = static["neutral_a"]["cut"]
        text += (
            " Re-connecting every home once, with this period known in advance, would "
            f"{'cut' if cut >= 0 else 'raise'} it by {pct(abs(cut))}."
        )
    return text


def money_text(study: Study) -> str:
    """Whether pbal pays here, in plain sentences; empty where pbal was not run."""
    own = study.summary.get("pbal")
    if own is None:
        return ""
    return verdict(study.options.money, study.days, own["money"])


def room_text(study: Study) -> str:
    """How much more load fits, as built and with pbal; empty where no limit is known."""
    own, built = (study.summary.get(k, {}).get("money", {}) for k in ("pbal", "as_built"))
    if "room_kw" not in own:
        return ""
    limit = study.options.loop.phase_limit_a or 0.0
    what = "the phase limit" if study.options.phase_limit_a else "the transformer's rating"
    cars = f"{own['room_cars']} or {built['room_cars']}"
    if own["room_cars"] == built["room_cars"]:
        cars = f"in either case {own['room_cars']}"
    return (
        f"Until {what} of {num(limit, 0)} A per phase is reached in the worst 10 minutes, "
        f"{num(own['room_kw'])} kW more fit with pbal, spread over the phases, where "
        f"{num(built['room_kw'])} kW fit as built: {cars} "
        f"chargers of {study.options.ev.charger_kw:g} kW that all charge then."
    )


def hosting_text(study: Study) -> str:
    """How many homes may have a car or a roof, as built and with pbal; empty where not asked."""
    words = {"ev": "a car", "pv": "a solar roof"}
    parts = []
    for h in study.hosting:
        who = "as built" if h.controller == "as_built" else "with pbal"
        share = "not even none" if h.share < 0 else pct(h.share)
        more = f", then {h.first}" if h.first else ""
        parts.append(f"{who} {share} of the homes may have {words[h.what]}{more}")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if parts else ""


def _ranked_days(study: Study) -> str:
    """On how many days it was measured which homes come first; a part of a day is not none."""
    return f"{min(study.days, study.options.rank_days):.3g}"


def first_homes_text(study: Study) -> str:
    """What a third of the relays brings, by what is known of the other homes; empty where it was
    not measured."""
    homes = study.feeder.n_joints
    cut = {b.relays: b.cut for b in study.benefits if b.choice == study.relay_choice}
    third = max(1, round(homes / 3))
    if third not in cut or homes not in cut or third == homes:
        return ""
    first = relay_names(study)[: min(third, 3)]
    known = {b.others: b.cut for b in study.less_known}
    alone = homes == study.feeder.n_homes
    every = "in every home" if alone else "at every place"
    where = f"in {third} of {homes} homes" if alone else f"at {third} of {homes} places"
    days = _ranked_days(study)
    return (
        f"Which homes first: relays {where} ({', '.join(first)}"
        f"{' ...' if third > len(first) else ''}) change the mean neutral current by "
        f"{_signed(cut[third])} where the other homes are metered, by "
        f"{_signed(known['remainder'])} where a transformer meter alone sees them, by "
        f"{_signed(known['unseen'])} where nothing does; a relay {every} by "
        f"{_signed(cut[homes])} (the first {days} days)."
    )


def _signed(cut: float) -> str:
    """A cut as the change that it is: -12 %, +3 %."""
    return f"{round(-cut * 100) + 0:+d} %" if round(cut * 100) else "0 %"


def relay_names(study: Study) -> list[str]:
    """Where relays go, in the recommended order: homes, and shared cables by their first home."""
    on_each = np.bincount(study.feeder.joint_of)
    names = []
    for k in study.relay_order:
        more = int(on_each[study.feeder.joint_of[k]]) - 1
        names.append(study.feeder.homes[k].name + (f" and {more} on its cable" if more else ""))
    return names


def relays_text(study: Study) -> str:
    """How many homes have a relay, and how many relays that takes."""
    homes, relays = int(study.relays.sum()), n_relays(study.feeder, study.relays)
    if relays == homes:
        return f"{homes} with a relay"
    return f"{homes} with a relay ({relays} relays, as some share one)"


def doubts(study: Study) -> list[str]:
    """The notes that question the input or the result: to be read before any figure."""
    return [note for note in study.notes if note.startswith(DOUBT)]


def relay_text(study: Study) -> str:
    """Which homes should get a relay first, and how well that is known."""
    names = relay_names(study)
    third = max(1, round(len(names) / 3))
    text = f"First third, in this order: <b>{escape(', '.join(names[:third]))}</b>."
    share = {b.choice: b.share_of_all for b in study.benefits if b.relays == third}
    if share:
        days = _ranked_days(study)
        other = next((s for c, s in share.items() if c != study.relay_choice), None)
        text += (
            f" With relays on these {third} alone, pbal reaches "
            f"{pct(share[study.relay_choice])} of the cut it reaches with a relay on every home"
        )
        how = {"ranked": "by marginal benefit", "heaviest": "heaviest first"}
        text += f" (measured on the first {days} days, every home metered). "
        text += f"The order is {how[study.relay_choice]}"
        if other is not None:
            unused = next(c for c in how if c != study.relay_choice)
            text += f"; {how[unused]}, the same number of relays reaches {pct(other)}"
        text += "."
    if study.less_known:
        cut = next(
            b.cut for b in study.benefits if b.relays == third and b.choice == study.relay_choice
        )
        said = {"remainder": "seen by a transformer meter only", "unseen": "not seen at all"}
        text += f" The cut is then {pct(cut)} with the other homes metered, " + ", ".join(
            f"{pct(b.cut)} with them {said[b.others]}" for b in study.less_known
        )
        text += "."
    own = [b for b in study.benefits if b.choice == study.relay_choice]
    steps = [
        f"{pct((b.cut - a.cut) / (b.relays - a.relays), 2)} from {a.relays} to {b.relays}"
        for a, b in pairwise(own)
        if b.relays > a.relays
    ]
    if steps:
        text += f" Each further relay adds to the cut: {', '.join(steps)}."
    return f"<p>{text} The full order is in homes.csv.</p>"


def assumptions(study: Study) -> list[str]:
    """What was assumed, one sentence each."""
    o, loop = study.options, study.options.loop
    items = [
        f"pbal decides every {max(loop.period_s, study.profiles.step_s)} s on the mean of the "
        "last complete step"
        + (f", {loop.delay_s} s old" if loop.delay_s else "")
        + f"; a home rests {loop.dwell_s / 60:g} minutes between switchings, at most "
        f"{loop.daily_cap} a day.",
        f"{pct(loop.failure_rate, 1)} of readings are lost, as many commands are not carried out."
        if loop.failure_rate
        else "No reading is lost and every command is carried out (--failure-rate).",
        _relay_assumption(study),
        "pbal weighs "
        + (
            "losses by the feeder's impedance and neutral current"
            if loop.use_feeder
            else "the neutral current only"
        )
        + f"; {_price(loop.price, loop.budget_per_day, bool(loop.use_feeder))}.",
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
            f"Losses are valued at {o.money.energy_price:g} {o.money.currency}/kWh and scaled to a "
            "year by days."
        )
    if study.feeder.transformer.rated_current_a > 0:
        items.append(
            f"Transformer {study.feeder.transformer.rated_kva:g} kVA, ONAN, {o.ambient_c:g} °C "
            "ambient; IEC 60076-7: top-oil rise 55 K, "
            "hot-spot gradient 23 K, R = 5, x = 0.8, y = 1.6, 180 and 4 min, k11 = 1, k21 = 1, "
            "k22 = 2; oil heated by the mean of "
            "the phases' losses, each winding with a hot spot of its own; the one that ages most "
            "counts."
        )
    if study.engine_difference_a is not None:
        items.append(
            "The power flow was held against the OpenDSS engine on twelve moments of this study, "
            f"the busiest among them: currents differ by at most {study.engine_difference_a:.2g} A."
        )
    best = study.summary.get("hindsight", {})
    if best.get("searches", 0) > 1:
        items.append(
            f"The hindsight optimum is the cheapest of {best['searches']} searches, the dearest of "
            f"which costs {best['search_spread_percent']:.1f} % more; it is no proven optimum."
        )
    elif "searches" in best:
        items.append(
            "The hindsight optimum is one search a week; others differ by some per cent in what "
            "they cost, and it is no proven optimum."
        )
    return [*items, *(note for note in study.notes if not note.startswith(DOUBT))]


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
        return (
            "Every home has a relay."
            if study.feeder.n_joints == homes
            else f"Every home has a relay, its own or its cable's: {study.feeder.n_joints} relays."
        )
    others = {
        "unseen": "homes without a relay have no node, and pbal does not see them",
        "metered": "homes without a relay have a node that only measures",
        "remainder": "a meter at the transformer shows pbal what the other homes draw together",
    }[study.options.loop.others]
    how = "at random" if study.options.relay_choice == "random" else "heaviest first"
    listed = "from the list of homes, the rest " if study.options.homes else ""
    count = n_relays(study.feeder, study.relays)
    shared = "" if count == have else f" ({count} relays, as some share one)"
    return f"{have} of {homes} homes have a relay{shared}, {listed}chosen {how}; {others}."


def limits(study: Study) -> list[str]:
    """What the study cannot tell, one sentence each."""
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
            f"{num(study.days, 0 if study.days >= 2 else 1)} days are not a year: seasons, and "
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
