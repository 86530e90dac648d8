"""A neighbourhood alone: loses a phase, gets it back, loses all power, gets it back.

    python -m bench.neighbourhood [--json] [--picture FILE.svg] [--homes 30] [--seed 1]

Every home is a real interpreter with the real firmware and its factory settings (confirmation 3 s,
random delay up to 20 s, 5 s of good voltage and up to 30 s of random delay after an outage); no
controller polls them. The loads are the built-in households on a winter evening, at natural speed.
Counted are the contacts' movements, by the twin's witness:

- after the loss: where the homes of the lost phase went, how often each home moved, the most homes
  that closed within one second;
- after the outage: how the closings spread, and that every home is back where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pbal_sim.loads import Loads
from pbal_sim.street import Street, StreetConfig

LOST = 0  # phase A
_EVERY_S = 0.2


@dataclass
class Script:
    """How long each stage lasts, in seconds."""

    quiet_s: float = 8.0
    lost_s: float = 45.0
    back_s: float = 15.0
    dark_s: float = 12.0
    return_s: float = 100.0  # at most
    after_s: float = 8.0
    settled_s: float = 120.0  # until all homes are closed after the first power-on


@dataclass
class Trace:
    """Rows of (time, amperes per phase, homes per phase, volts per phase), and the marks."""

    t_s: list[float] = field(default_factory=list)
    amperes: list[list[float]] = field(default_factory=list)
    homes: list[list[int]] = field(default_factory=list)
    volts: list[list[float]] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)


class Watch:
    """Records the trace of a street during the stages."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self.trace = Trace()
        self.begin_s = time.monotonic()

    def phases(self) -> list[int]:
        """The closed phase of every home, -1 for none."""
        return [h.contacts.phase for h in self.street.homes]

    def look(self) -> None:
        """One row."""
        t, mains, at = self.trace, self.street.mains, self.phases()
        t.t_s.append(time.monotonic() - self.begin_s)
        t.amperes.append([float(abs(i)) for i in mains.i_phase])
        t.volts.append([float(abs(v)) for v in mains.v_phase])
        t.homes.append([at.count(p) for p in (0, 1, 2)])

    def mark(self, text: str) -> float:
        """Names this moment; returns it in microseconds of the monotonic clock."""
        self.trace.marks.append((time.monotonic() - self.begin_s, text))
        return time.monotonic_ns() / 1000

    async def wait(self, seconds: float, done: Any = None) -> None:
        """Records for so long, or until `done()`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (done and done()):
            self.look()
            await asyncio.sleep(_EVERY_S)


def crowd(times_us: list[float], window_s: float = 1.0) -> int:
    """The most of these instants within any window of that length."""
    times = sorted(times_us)
    return max((sum(t <= u < t + window_s * 1e6 for u in times) for t in times), default=0)


async def play(config: StreetConfig, script: Script) -> tuple[dict[str, Any], Trace]:
    """Runs the script on a street; returns the results and the trace."""
    async with Street(config) as street:
        watch = Watch(street)
        witness = street.witness
        await watch.wait(script.settled_s, lambda: -1 not in watch.phases())
        if -1 in watch.phases():
            raise RuntimeError("not every home closed its first phase")
        watch = Watch(street)
        await watch.wait(script.quiet_s)

        before = watch.phases()
        lost_us = watch.mark("phase A lost")
        street.set_phase(LOST, 0.0)
        await watch.wait(script.lost_s)
        after = watch.phases()
        amperes = watch.trace.amperes[-1]
        back_us = watch.mark("phase A back")
        street.set_phase(LOST, 1.0)
        await watch.wait(script.back_s)
        settled = watch.phases()
        moves = [t for t in witness.transfers if t.closed_us > lost_us]

        watch.mark("power lost")
        dark = asyncio.create_task(street.blackout(script.dark_s))
        await watch.wait(script.dark_s)
        power_us = watch.mark("power back")
        await watch.wait(script.return_s, lambda: -1 not in watch.phases() and dark.done())
        await dark
        await watch.wait(script.after_s)
        final = watch.phases()
        closings = [c for c in witness.closings if c[2] > power_us]

        went = [after[i] for i in range(config.homes) if before[i] == LOST]
        closed_us = [t.closed_us for t in moves]
        per_home = np.bincount([t.home for t in moves], minlength=config.homes)
        returned_us = [c[2] for c in closings]
        result = {
            "homes": config.homes,
            "on_lost_phase": len(went),
            "went_to": {"ABC"[p]: went.count(p) for p in (0, 1, 2)},
            "amperes_after": [round(a, 1) for a in amperes],
            "homes_before": [before.count(p) for p in (0, 1, 2)],
            "homes_after": [after.count(p) for p in (0, 1, 2)],
            "moves_per_home_max": int(per_home.max()),
            "moves_of_others": int(sum(per_home[i] for i, p in enumerate(before) if p != LOST)),
            "first_move_s": (min(closed_us) - lost_us) / 1e6 if moves else None,
            "last_move_s": (max(closed_us) - lost_us) / 1e6 if moves else None,
            "most_moves_in_1_s": crowd(closed_us),
            "moves_after_phase_is_back": sum(t.closed_us > back_us for t in moves),
            "return_first_s": (min(returned_us) - power_us) / 1e6 if closings else None,
            "return_last_s": (max(returned_us) - power_us) / 1e6 if closings else None,
            "return_most_in_1_s": crowd(returned_us),
            "returned_to_same_phase": sum(a == b for a, b in zip(settled, final, strict=True)),
            "closings_on_return": len(closings),
            "incidents": witness.report()["incidents"],
            "watchdog_bites": sum(h.wdt_bites for h in street.homes),
            "boot_s": street.boot_s,
        }
        return result, watch.trace


def draw(trace: Trace, path: Path) -> None:
    """Loads, homes and volts per phase over time (SVG or PNG, by the file's name)."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "pbal"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 1, figsize=(10, 8), sharex=True)
    rows = (
        (axes[0], np.array(trace.amperes), "load, A"),
        (axes[1], np.array(trace.homes), "homes connected"),
        (axes[2], np.array(trace.volts), "voltage, V"),
    )
    for axis, values, label in rows:
        for phase, colour in enumerate(("#b3541e", "#1f6f8b", "#5a7d2a")):
            axis.step(
                *(trace.t_s, values[:, phase]), where="post", color=colour, label="ABC"[phase]
            )
        axis.set_ylabel(label)
        axis.grid(True, alpha=0.3)
        axis.margins(x=0)
        for t, _ in trace.marks:
            axis.axvline(t, color="black", linewidth=0.8, linestyle="--")
    for k, (t, text) in enumerate(trace.marks):
        axes[0].annotate(
            *(text, (t, 1.0)), xycoords=("data", "axes fraction"), xytext=(-2, 4 + 10 * (k % 2)),
            textcoords="offset points", fontsize=8,
        )  # fmt: skip
    axes[2].set_ylim(222, 242)
    axes[1].legend(loc="lower left", ncol=3, title="phase", fontsize=8)
    axes[2].set_xlabel("time, s")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def street_of(homes: int, seed: int, loads: Loads | None = None) -> StreetConfig:
    """A street as it stands: households on a winter evening, uneven phases, factory settings."""
    return StreetConfig(homes=homes, seed=seed, speed=1.0, load_start_s=18.5 * 3600, loads=loads)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--picture", type=Path, help="draw the loads per phase into this file")
    parser.add_argument("--trace", type=Path, help="write the samples as JSON into this file")
    parser.add_argument("--homes", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    result, trace = asyncio.run(play(street_of(args.homes, args.seed), Script()))
    if args.picture:
        draw(trace, args.picture)
    if args.trace:
        args.trace.write_text(json.dumps(trace.__dict__))
    if args.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:28s} {value}")


if __name__ == "__main__":
    main()
