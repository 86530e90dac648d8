"""The page a planner reads: one self-contained HTML file, pictures inside, nothing fetched."""

from html import escape

import numpy as np

from ..run.study import Study
from .figures import all_figures
from .sentences import (
    DOUBT,
    assumptions,
    doubts,
    first_homes_text,
    headline,
    hosting_text,
    limits,
    money_text,
    num,
    relay_text,
    relays_text,
    room_text,
)
from .table import money_table, objectives_table, side_by_side

CSS = """
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
.wide,figure>div{overflow-x:auto}
figcaption{color:#5b636e;font-size:14px;max-width:74ch}
ul{padding-left:20px;max-width:74ch}li{margin:4px 0}
.doubt{background:#fdf3dd;border-left:4px solid #b26a00;padding:8px 16px;margin:18px 0}
.doubt ul{margin:4px 0}
.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px}
@media (max-width:640px){main{padding:20px 14px 40px}h1{font-size:22px}
 figure svg{min-width:620px}td:first-child{min-width:150px}th,td{padding:6px 7px}}
@media print{.wide,figure>div{overflow:visible}figure svg{min-width:0}
 main{max-width:none;padding:0}figure,table{break-inside:avoid}}
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


def render(study: Study) -> str:
    """The whole page."""
    feeder, options = study.feeder, study.options
    pictures = all_figures(study)
    end = study.profiles.start + np.timedelta64(round(study.days * 86400), "s")
    period = f"{str(study.profiles.start)[:10]} to {str(end)[:10]}"
    circuit = f"Circuit {feeder.name}: " if options.feeder is not None else ""
    sub = (
        f"{circuit}{feeder.n_homes} homes "
        f"({', '.join(f'{(feeder.phases == p).sum()} on {q}' for p, q in enumerate('ABC'))}), "
        f"{relays_text(study)}. "
        f"{num(study.days, 0 if study.days >= 2 else 1)} days, {period}, "
        f"one value every {study.profiles.step_s} s."
    )
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width,initial-scale=1'>",
        f"<title>pbal study: {escape(options.title)}</title>",
        f"<style>{CSS}</style></head><body><main>",
        f"<h1>What phase balancing would do for {escape(options.title)}</h1>",
        f"<p class='sub'>{escape(sub)}</p>",
        _doubts(study),
        f"<p class='lead'>{escape(headline(study))}</p>",
        *_money(study),
        "<h2>Side by side</h2>",
        f"<div class='wide'>{side_by_side(study)}</div>",
        "<p class='quiet'>As built: every home where it is now. Best static: all homes "
        "re-connected once, "
        "chosen with the whole period known. Hindsight optimum: knows the future, neutral "
        "current only, and "
        "switches as often as pbal did; a yardstick, not a product. ✓ and ✗: the EN 50160 "
        "test.</p>",
    ]
    weighed = objectives_table(study)
    if weighed:
        days = num(study.objectives[0].days, 1)
        parts.append(
            f"<h2>Losses or neutral current</h2><div class='wide'>{weighed}</div><p class='quiet'>"
            f"What pbal would do with either objective, on the first {days} days.</p>"
        )
    for name, (title, caption) in _CAPTIONS.items():
        if name in pictures:
            parts.append(
                f"<h2>{title}</h2><figure><div>{pictures[name]}</div><figcaption>{escape(caption)}</figcaption></figure>"
            )
            if name == "relays":
                parts.append(relay_text(study))
    parts += [
        "<h2>Assumptions</h2>",
        _list(assumptions(study)),
        "<h2>Honest limits</h2>",
        _list(limits(study)),
    ]
    parts.append(
        f"<p class='quiet'>Made with pbal study. Seed {options.seed}; study.json beside this "
        "page holds every "
        "option and figure.</p></main></body></html>"
    )
    return "\n".join(parts)


def _doubts(study: Study) -> str:
    """What to check before any figure is believed."""
    asked = [text[len(DOUBT) :] for text in doubts(study)]
    asked = [text[:1].upper() + text[1:] for text in asked]
    return f"<div class='doubt'><b>Check first</b>{_list(asked)}</div>" if asked else ""


def _money(study: Study) -> list[str]:
    """Whether it pays, and from which costs and savings."""
    text = money_text(study)
    if not text:
        return []
    more = (room_text(study), hosting_text(study), first_homes_text(study))
    return [
        "<h2>Does it pay?</h2>",
        f"<p>{escape(text)}</p>",
        *(f"<p>{escape(said)}</p>" for said in more if said),
        f"<div class='wide'>{money_table(study)}</div>",
    ]


def _list(items: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
