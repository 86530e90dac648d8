"""Pictures of the network: unbalance, losses, voltages, the transformer."""

import numpy as np
from numpy.typing import NDArray

from ..run.metrics import VOLTAGE_BAND, VUF_LIMIT, Outcome
from ..run.study import Study
from ..run.thermal import ageing_rate
from .drawing import COLOURS, curves, figure


def vuf_curve(study: Study) -> str | None:
    """Duration curve of the 10-minute VUF at each controller's own worst bus."""
    if not study.feeder.exact:
        return None

    def worst(outcome: Outcome) -> NDArray[np.floating]:
        column = int(np.argmax(np.percentile(outcome.vuf_10, 95, axis=0)))
        return outcome.vuf_10[:, column] * 100

    return curves(
        study,
        worst,
        "VUF at the worst bus, %",
        (VUF_LIMIT * 100, "EN 50160: 2 % for 95 % of a week"),
    )


def pvur_curve(study: Study) -> str | None:
    """Duration curve of the PVUR of whichever home's bus is worst at the moment."""
    if not study.feeder.exact:
        return None
    return curves(study, lambda o: o.pvur_worst * 100, "PVUR at the worst bus, %")


def losses(study: Study) -> str | None:
    """Energy lost in the period, with its price."""
    if not study.feeder.exact:
        return None
    names = list(study.summary)[::-1]
    kwh = [study.summary[name]["losses"]["kwh"] for name in names]
    digits = 2 if max(kwh) < 10 else 1 if max(kwh) < 100 else 0
    with figure(8.4, 0.5 + 0.42 * len(names)) as (_, ax, out):
        bars = ax.barh(
            [study.summary[name]["title"] for name in names],
            kwh,
            color=[COLOURS[name] for name in names],
            height=0.62,
        )
        ax.bar_label(
            bars,
            labels=[
                f"{lost:.{digits}f} kWh, {lost * study.options.money.energy_price:.2f} "
                f"{study.options.money.currency}"
                for lost in kwh
            ],
            padding=4,
        )
        ax.set(xlabel=f"lost in {study.days:.3g} days, kWh")
        ax.set_xlim(0, max(*kwh, 1e-9) * 1.28)
        ax.grid(axis="y", visible=False)
    return out[0]


def voltages(study: Study) -> str | None:
    """Range of 10-minute voltages of every home, as built and with pbal."""
    if not study.feeder.exact:
        return None
    shown = [n for n in ("as_built", "pbal") if n in study.outcomes]
    base = np.array([h.v_base for h in study.feeder.homes])
    order = np.argsort(np.percentile(study.outcomes["as_built"].volts_10, 50, axis=0))
    with figure(8.4, 3.1) as (_, ax, out):
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


def loading(study: Study) -> str | None:
    """Duration curve of the transformer's most loaded phase."""
    rated = study.feeder.transformer.rated_current_a
    if rated <= 0:
        return None
    peak = max(float(o.phase_a.max()) for o in study.outcomes.values()) / rated
    return curves(
        study,
        lambda o: o.phase_a.max(axis=1) / rated * 100,
        "most loaded phase, % of rated",
        (100.0, "rated current") if peak > 0.7 else None,
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
    return curves(
        study,
        lambda o: o.hot_spot_c if o.hot_spot_c is not None else np.zeros(1),
        "hot-spot temperature, °C",
        limit,
        from_zero=False,
    )


def life_used(study: Study) -> str | None:
    """Insulation life used since the beginning, as hours of life at normal ageing."""
    if any(o.hot_spot_c is None for o in study.outcomes.values()):
        return None
    step_h = study.profiles.step_s / 3600
    with figure(8.4, 2.9) as (_, ax, out):
        for name, outcome in study.outcomes.items():
            if outcome.hot_spot_c is None:
                continue
            used = np.cumsum(ageing_rate(outcome.hot_spot_c.astype(float))) * step_h
            # A thousand points draw the same line as half a million.
            at = np.unique(np.linspace(0, len(used) - 1, 1000).astype(int))
            ax.plot(
                (at + 1) * step_h / 24,
                used[at],
                "--" if name == "hindsight" else "-",
                color=COLOURS[name],
                label=outcome.trajectory.title,
            )
        ax.set(xlabel="days", ylabel="insulation life used, h", xlim=(0, study.days))
        ends = [o.ageing.life_used_h for o in study.outcomes.values() if o.ageing is not None]
        if max(ends) > 30 * min(ends):
            # Ageing doubles every 6 K: on a linear scale only the worst would be seen.
            ax.set_yscale("log")
        else:
            ax.set_ylim(bottom=0)
        ax.legend(loc="upper left")
    return out[0]
