"""The report's pictures of currents and switchings, and the list of all of them."""

from collections.abc import Callable

import numpy as np

from ..run.metrics import duration_curve
from ..run.study import Study
from .drawing import COLOURS, curves, dash, figure, inline
from .figures_grid import hot_spot, life_used, loading, losses, pvur_curve, voltages, vuf_curve

_PHASES = ("#9c4a1a", "#222222", "#7a8794")
_ORDER = {"ranked": "by marginal benefit", "heaviest": "heaviest first"}


def all_figures(study: Study) -> dict[str, str]:
    """Every picture that this study can support, by name."""
    makers: dict[str, Callable[[Study], str | None]] = {
        "day": worst_day,
        "neutral": neutral_curve,
        "hours": by_hour,
        "phases": phase_curves,
        "losses": losses,
        "vuf": vuf_curve,
        "pvur": pvur_curve,
        "volts": voltages,
        "loading": loading,
        "hot_spot": hot_spot,
        "life": life_used,
        "switchings": switchings,
        "relays": relays_first,
    }
    made = {name: make(study) for name, make in makers.items()}
    return {
        name: inline(svg, name, (makers[name].__doc__ or name).rstrip("."))
        for name, svg in made.items()
        if svg
    }


def neutral_curve(study: Study) -> str:
    """Load duration curve of the neutral current."""
    return curves(study, lambda o: o.neutral_a, "neutral current, A")


def phase_curves(study: Study) -> str:
    """Load duration curves of the three phases, one panel per controller."""
    n = len(study.outcomes)
    rated = study.feeder.transformer.rated_current_a
    with figure(8.4, 2.8, n) as (_, axes, out):
        peak = max(float(o.phase_a.max()) for o in study.outcomes.values())
        for ax, outcome in zip(np.atleast_1d(axes), study.outcomes.values(), strict=True):
            for phase in range(3):
                share, level = duration_curve(outcome.phase_a[:, phase])
                ax.plot(share, level, color=_PHASES[phase], label="ABC"[phase], linewidth=1.4)
            if 0 < rated < 1.6 * peak:
                ax.axhline(rated, color="#b3261e", linewidth=1, linestyle=":")
            ax.set_title(outcome.trajectory.title.split(",")[0], fontsize=9.5, loc="left")
            ax.set(xlim=(0, 100), xlabel="% of time")
            ax.set_ylim(bottom=0)
        np.atleast_1d(axes)[0].set_ylabel("phase current, A")
        np.atleast_1d(axes)[-1].legend(title="phase", loc="upper right")
    return out[0]


def worst_day(study: Study) -> str | None:
    """The day with most neutral current as built, step by step, as built and with pbal."""
    if "pbal" not in study.outcomes:
        return None
    step = study.profiles.step_s
    per_day = 86400 // step
    built = study.outcomes["as_built"].neutral_a
    days = max(1, len(built) // per_day)
    mean = [float(built[d * per_day : (d + 1) * per_day].mean()) for d in range(days)]
    at = int(np.argmax(mean)) * per_day
    first = study.profiles.start + np.timedelta64(at * step, "s")
    with figure(8.4, 2.9) as (_, ax, out):
        for name in ("as_built", "pbal"):
            y = study.outcomes[name].neutral_a[at : at + per_day]
            x = np.arange(len(y)) * step / 3600
            ax.plot(
                x,
                y,
                color=COLOURS[name],
                linewidth=0.9,
                label=study.outcomes[name].trajectory.title,
            )
        start = str(first.astype("datetime64[m]")).replace("T", " ")
        ax.set(xlabel=f"hours from {start}", ylabel="neutral current, A", xlim=(0, x[-1]))
        ax.set_xticks(np.arange(0, x[-1] + 0.1, 3) if x[-1] > 6 else ax.get_xticks())
        ax.set_xlim(0, x[-1])
        ax.set_ylim(bottom=0)
        ax.legend(loc="upper left")
    return out[0]


def by_hour(study: Study) -> str | None:
    """Mean neutral current by the clock, in quarter hours or the profiles' own step."""
    if study.days < 2:
        return None
    width = max(900, study.profiles.step_s)
    slots = -(-86400 // width)
    slot = study.profiles.seconds_of_day // width
    count = np.bincount(slot, minlength=slots)
    if (count == 0).any():
        return None
    with figure(8.4, 2.9) as (_, ax, out):
        for name, outcome in study.outcomes.items():
            level = np.bincount(slot, outcome.neutral_a, minlength=slots) / count
            ax.plot(
                np.arange(slots) * width / 3600,
                level,
                dash(name),
                color=COLOURS[name],
                label=outcome.trajectory.title,
            )
        ax.set(xlabel="hour of the day", ylabel="mean neutral current, A", xlim=(0, 24))
        ax.set_xticks(range(0, 25, 3))
        ax.set_ylim(bottom=0)
        ax.legend(loc="best")
    return out[0]


def switchings(study: Study) -> str | None:
    """Switchings of each home per day, most first."""
    shown = [n for n in ("pbal", "hindsight") if n in study.outcomes]
    if not shown or not study.relays.any():
        return None
    first = study.feeder.first_at
    relays = first[study.relays[first]]
    with figure(8.4, 2.7) as (_, ax, out):
        for name in shown:
            count = np.sort(study.outcomes[name].trajectory.switchings()[relays])[::-1]
            x, y = np.arange(len(count)), count / study.days
            if name == "pbal":
                ax.bar(x, y, color=COLOURS[name], width=0.75, label="pbal")
            else:
                ax.step(
                    x,
                    y,
                    where="mid",
                    color=COLOURS[name],
                    label="Hindsight optimum",
                    linestyle="--",
                )
        ax.set(xlabel="homes with a relay, busiest first", ylabel="switchings per day")
        ax.set_xlim(-0.6, len(relays) - 0.4)
        ax.set_xticks([])
        ax.grid(axis="x", visible=False)
        ax.legend(loc="upper right")
    return out[0]


def relays_first(study: Study) -> str | None:
    """Benefit against the number of relays, in the recommended order."""
    if not study.relay_order:
        return None
    n = len(study.relay_order)
    own = [b for b in study.benefits if b.choice == study.relay_choice]
    full = 1 - np.sqrt(study.relay_curve[-1])
    if not own and full <= 0:
        return None
    with figure(8.4, 3.1) as (_, ax, out):
        if full > 0:
            ideal = (1 - np.sqrt(study.relay_curve)) / full
            ax.plot(
                np.arange(1, n + 1) / n * 100,
                ideal * 100,
                "--",
                color="#8a8f98",
                label="free switching on half-hour means",
            )
        if own:
            ax.plot(
                [0, *(b.relays / n * 100 for b in own)],
                [0, *(b.share_of_all * 100 for b in own)],
                "-o",
                color=COLOURS["pbal"],
                label="pbal, measured",
            )
        for b in study.benefits:
            if b.choice != study.relay_choice:
                ax.plot(
                    b.relays / n * 100,
                    b.share_of_all * 100,
                    "D",
                    color=COLOURS["best_static"],
                    label=f"pbal, {_ORDER[b.choice]}",
                )
        ax.set(
            xlabel="homes with a relay, % (recommended order)",
            ylabel="share of the full\nneutral-current cut, %",
            xlim=(0, 100),
        )
        ax.set_ylim(0, 110)
        ax.legend(loc="lower right")
    return out[0]
