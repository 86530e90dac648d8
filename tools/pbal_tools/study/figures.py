"""The report's pictures: SVG text to be put straight into the page, no file beside it."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from .metrics import VOLTAGE_BAND, VUF_LIMIT, Outcome, duration_curve
from .run import Study

COLOURS = {
    "as_built": "#8a8f98",
    "best_static": "#c77d0a",
    "pbal": "#0a6ebd",
    "hindsight": "#3b8f4e",
}
_PHASES = ("#9c4a1a", "#222222", "#7a8794")
_ORDER = {"ranked": "by marginal benefit", "heaviest": "heaviest first"}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": "#333a44",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "xtick.color": "#5b636e",
    "ytick.color": "#5b636e",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    # Text stays text: small files, and the reader can search it.
    "svg.fonttype": "none",
    # Fixed salt: the same study gives the same bytes.
    "svg.hashsalt": "pbal",
}


@contextmanager
def _figure(width: float, height: float, columns: int = 1) -> Iterator[tuple[Any, Any, list[str]]]:
    """A figure whose SVG ends up in the list when the block ends."""
    out: list[str] = []
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            1, columns, figsize=(width, height), layout="constrained", sharey=columns > 1
        )
        try:
            yield figure, axes, out
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        finally:
            plt.close(figure)
    text = buffer.getvalue()
    out.append(text[text.index("<svg") :])


def _dash(name: str) -> str:
    return "--" if name == "hindsight" else "-"


def all_figures(study: Study) -> dict[str, str]:
    """Every picture that this study can support, by name."""
    makers: dict[str, Callable[[Study], str | None]] = {
        "day": worst_day,
        "neutral": neutral_curve,
        "hours": by_hour,
        "phases": phase_curves,
        "vuf": vuf_curve,
        "volts": voltages,
        "hot_spot": hot_spot,
        "switchings": switchings,
        "relays": relays_first,
    }
    made = {name: make(study) for name, make in makers.items()}
    return {name: svg for name, svg in made.items() if svg}


def _curves(
    study: Study,
    values: Callable[[Outcome], NDArray[np.floating]],
    label: str,
    limit: tuple[float, str] | None = None,
    from_zero: bool = True,
) -> str:
    with _figure(8.4, 3.3) as (_, ax, out):
        top, bottom = 0.0, 0.0 if from_zero else np.inf
        for name, outcome in study.outcomes.items():
            share, level = duration_curve(values(outcome))
            ax.plot(share, level, _dash(name), color=COLOURS[name], label=outcome.trajectory.title)
            top, bottom = max(top, float(level.max())), min(bottom, float(level.min()))
        if limit is not None:
            ax.axhline(limit[0], color="#b3261e", linewidth=1, linestyle=":")
            ax.annotate(
                limit[1], (100, limit[0]), ha="right", va="bottom", color="#b3261e", fontsize=9
            )
            top = max(top, limit[0])
        ax.set(xlabel="share of time at or above this value, %", ylabel=label, xlim=(0, 100))
        if not from_zero:
            # At least 20 units, so that a difference of nothing does not fill the picture.
            bottom = np.floor(bottom / 10) * 10
            top = max(top, bottom + 18.5)
        ax.set_ylim(bottom, bottom + (top - bottom) * 1.08 or 1)
        ax.legend(loc="upper right" if limit is None else "best")
    return out[0]


def neutral_curve(study: Study) -> str:
    """Load duration curve of the neutral current."""
    return _curves(study, lambda o: o.neutral_a, "neutral current, A")


def vuf_curve(study: Study) -> str | None:
    """Duration curve of the 10-minute VUF at each controller's own worst bus."""
    if not study.feeder.exact:
        return None

    def worst(outcome: Outcome) -> NDArray[np.floating]:
        column = int(np.argmax(np.percentile(outcome.vuf_10, 95, axis=0)))
        return outcome.vuf_10[:, column] * 100

    return _curves(
        study,
        worst,
        "VUF at the worst bus, %",
        (VUF_LIMIT * 100, "EN 50160: 2 % for 95 % of a week"),
    )


def hot_spot(study: Study) -> str | None:
    """Duration curve of the transformer's hot-spot temperature."""
    if any(o.hot_spot_c is None for o in study.outcomes.values()):
        return None
    peak = max(
        float(np.max(o.hot_spot_c)) for o in study.outcomes.values() if o.hot_spot_c is not None
    )
    # A limit far above everything would only flatten the curves.
    limit = (98.0, "98 °C: normal ageing") if peak > 70 else None
    return _curves(
        study,
        lambda o: o.hot_spot_c if o.hot_spot_c is not None else np.zeros(1),
        "hot-spot temperature, °C",
        limit,
        from_zero=False,
    )


def phase_curves(study: Study) -> str:
    """Load duration curves of the three phases, one panel per controller."""
    n = len(study.outcomes)
    rated = study.feeder.transformer.rated_current_a
    with _figure(8.4, 2.8, n) as (_, axes, out):
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
    with _figure(8.4, 2.9) as (_, ax, out):
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
    """Mean neutral current by the clock, in quarter hours."""
    if study.days < 2:
        return None
    slot = study.profiles.seconds_of_day // 900
    count = np.bincount(slot, minlength=96)
    if (count == 0).any():
        return None
    with _figure(8.4, 2.9) as (_, ax, out):
        for name, outcome in study.outcomes.items():
            level = np.bincount(slot, outcome.neutral_a, minlength=96) / count
            ax.plot(
                np.arange(96) / 4,
                level,
                _dash(name),
                color=COLOURS[name],
                label=outcome.trajectory.title,
            )
        ax.set(xlabel="hour of the day", ylabel="mean neutral current, A", xlim=(0, 24))
        ax.set_xticks(range(0, 25, 3))
        ax.set_ylim(bottom=0)
        ax.legend(loc="best")
    return out[0]


def voltages(study: Study) -> str | None:
    """Range of 10-minute voltages of every home, as built and with pbal."""
    if not study.feeder.exact:
        return None
    shown = [n for n in ("as_built", "pbal") if n in study.outcomes]
    base = np.array([h.v_base for h in study.feeder.homes])
    order = np.argsort(np.percentile(study.outcomes["as_built"].volts_10, 50, axis=0))
    with _figure(8.4, 3.1) as (_, ax, out):
        for k, name in enumerate(shown):
            volts = study.outcomes[name].volts_10[:, order]
            low, high = volts.min(axis=0), volts.max(axis=0)
            x = np.arange(len(order)) + (k - (len(shown) - 1) / 2) * 0.4
            ax.vlines(
                x,
                low,
                high,
                color=COLOURS[name],
                linewidth=min(4.0, 180 / len(order)),
                label=study.outcomes[name].trajectory.title,
            )
        low_v, high_v = ax.get_ylim()
        ax.set_ylim(low_v, high_v + (high_v - low_v) * 0.16)
        for edge, text, anchor in (
            (1 - VOLTAGE_BAND, "-10 %", "bottom"),
            (1 + VOLTAGE_BAND, "+10 %", "top"),
        ):
            level = float(base[0] * edge)
            if low_v - 8 < level < high_v + 8:
                ax.axhline(level, color="#b3261e", linewidth=1, linestyle=":")
                ax.annotate(
                    text,
                    (-0.8, level),
                    ha="left",
                    va=anchor,
                    color="#b3261e",
                    fontsize=9,
                )
        ax.set(
            xlabel="homes, lowest typical voltage first",
            ylabel="10-minute voltage, V",
            xlim=(-1, len(order)),
        )
        ax.set_xticks([])
        ax.grid(axis="x", visible=False)
        ax.legend(loc="upper right", ncols=2)
    return out[0]


def switchings(study: Study) -> str | None:
    """Switchings of each home per day, most first."""
    shown = [n for n in ("pbal", "hindsight") if n in study.outcomes]
    if not shown or not study.relays.any():
        return None
    with _figure(8.4, 2.7) as (_, ax, out):
        for name in shown:
            count = np.sort(study.outcomes[name].trajectory.switchings()[study.relays])[::-1]
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
        ax.set_xlim(-0.6, int(study.relays.sum()) - 0.4)
        ax.set_xticks([])
        ax.grid(axis="x", visible=False)
        ax.legend(loc="upper right")
    return out[0]


def relays_first(study: Study) -> str | None:
    """Benefit against the number of relays, in the recommended order."""
    if not study.relay_order:
        return None
    n = len(study.relay_order)
    with _figure(8.4, 3.1) as (_, ax, out):
        full = 1 - np.sqrt(study.relay_curve[-1])
        if full > 0:
            ideal = (1 - np.sqrt(study.relay_curve)) / full
            ax.plot(
                np.arange(1, n + 1) / n * 100,
                ideal * 100,
                "--",
                color="#8a8f98",
                label="free switching on half-hour means",
            )
        own = [b for b in study.benefits if b.choice == study.relay_choice]
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
