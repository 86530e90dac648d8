"""Step 4: calibration against the crew's reference meter, at two points of each quantity.

Voltages: a node's true RMS takes the resting level out, so a channel is a straight line through
zero with one unknown, its gain. The mains voltage as it is gives it; a second voltage (a variac, or
another hour) checks the line: the gain is then the least-squares one of both, and a channel that
misses either by more than a volt is no straight line, and refused. The current, whose transformer
bends, has a small and a large load: reading r becomes r (1 + trim + bend r^2), exact at both. What
is written is read back, and then the node must show what the reference showed; if it does not, the
old values are put back.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pbal_protocol import config

from ..errors import CheckFailed
from .job import Job
from .talk import Talk

_READINGS = 6
_PAUSE_S = 0.7
_VOLTS = (("vout", "trim_out_ppm"), ("va", "trim_a_ppm"), ("vb", "trim_b_ppm"),
          ("vc", "trim_c_ppm"))  # fmt: skip
TOLERANCE_V = 1.0
MIN_SPAN_V = 8.0  # between the two voltages
TOLERANCE_I = 0.02  # of the reading, and not below ...
TOLERANCE_A = 0.05
_STEADY = 0.03  # the readings of one point spread no more than this


@dataclass(frozen=True)
class Point:
    """One comparison: what the node showed, what the reference showed, and the raw reading."""

    shown: float
    reference: float
    raw: float


def measure(talk: Talk, what: str) -> tuple[float, float]:
    """Mean and spread (share of it) of some readings of "current" or a voltage."""
    got = []
    for k in range(_READINGS):
        if k:
            time.sleep(_PAUSE_S)
        reading = talk.reading()
        got.append(reading.current_a if what == "current" else float(getattr(reading, f"{what}_v")))
    mean = statistics.fmean(got)
    return mean, (max(got) - min(got)) / mean if mean > 0 else 1.0


def new_trim(points: list[tuple[float, float]], old_ppm: int) -> int:
    """The trim with which the node would have shown the references: (shown, reference) pairs, V.

    One point, or the straight line through zero of two. Raises CheckFailed: too far, too close
    together, or no straight line.
    """
    shown, reference = points[-1]
    power = sum(seen * seen for seen, _ in points)
    gain = sum(seen * true for seen, true in points) / power if shown > 0 else math.inf
    trim = round(((1 + old_ppm / 1e6) * gain - 1) * 1e6) if math.isfinite(gain) else 10**9
    low, high = config.entry("trim_out_ppm")[3:5]
    if not low <= trim <= high:
        raise CheckFailed(
            f"The node shows {shown:.2f} and the reference {reference:.2f}: more than "
            f"{high / 10000:g} % apart is no matter of calibration.",
            "Compare the same two terminals; look at the sensor and the board file's scale.",
        )
    if len(points) > 1:
        references = [true for _, true in points]
        if max(references) - min(references) < MIN_SPAN_V:
            raise CheckFailed(
                f"The two voltages, {references[0]:.1f} V and {references[1]:.1f} V, are too "
                "close.",
                f"They should be {MIN_SPAN_V:g} V apart or more: use a variac, or give one only.",
            )
        off = max(abs(gain * seen - true) for seen, true in points)
        if off > TOLERANCE_V:
            raise CheckFailed(
                f"The channel is no straight line: with the best gain it is {off:.2f} V off.",
                "Compare the same two terminals both times; else the sensor saturates or hums.",
            )
    return trim


def raw_current(shown: float, trim_ppm: int, bend_ppb: int) -> float:
    """The reading before trim: r with r (1 + trim + bend r^2) = shown (Newton's method)."""
    gain, bend = 1 + trim_ppm / 1e6, bend_ppb / 1e9
    r = shown / gain
    for _ in range(20):
        r -= (r * (gain + bend * r * r) - shown) / (gain + 3 * bend * r * r)
    return r


def two_point(low: Point, high: Point | None) -> tuple[int, int]:
    """(trim in ppm, bend in ppb per square ampere), exact at both points.

    One point, or two that are too close for a bend: the trim alone. Raises CheckFailed: too far.
    """
    a = low.reference / low.raw
    bend = 0.0
    if high is not None:
        b = high.reference / high.raw
        if high.raw < 2 * low.raw:
            raise CheckFailed(
                f"The two loads, {low.raw:.2f} A and {high.raw:.2f} A, are too close.",
                "The large one should be at least twice the small one; a kettle draws 9 A.",
            )
        bend = (b - a) / (high.raw**2 - low.raw**2)
    trim = round((a - bend * low.raw**2 - 1) * 1e6)
    ppb = round(bend * 1e9)
    for name, value in (("trim_i_ppm", trim), ("bend_i_ppb", ppb)):
        _, _, unit, least, most, _ = config.entry(name)
        if not least <= value <= most:
            raise CheckFailed(
                f"The current would need {name} {value} {unit}, more than {least}..{most}.",
                "Compare the same current; look at the transformer's ratio in the board file.",
            )
    return trim, ppb


def calibrate_home(job: Job, address: int, between: Callable[[str], None] | None = None) -> None:
    """Asks for the reference's values of one home, writes, reads back and proves.

    `between(point)` is called before each point is measured (tests switch loads there).
    """
    notes = job.state.home(address)
    if notes.get("calibrate", {}).get("ok"):
        return
    talk = job.talk(address)
    settings = talk.settings()
    wanted: dict[str, int] = {}
    points: dict[str, Any] = {}
    key = f"calibrate.{address}"
    tell = between or (lambda point: job.ask.ready(f"{key}.{point}", _READY[point]))
    volts = _volts(job, talk, key, tell)
    for what, name in _VOLTS:
        if what in volts:
            wanted[name] = new_trim(volts[what], settings[name])
            points |= {
                _point(what, n): {"shown": round(shown, 2), "reference": reference}
                for n, (shown, reference) in enumerate(volts[what])
            }
    found: list[Point] = []
    for point in ("i_low", "i_high"):
        if point == "i_high" and not found:
            break
        tell(point)
        reference = job.ask.number(f"{key}.{point}", f"reference current ({point}), A", 0.05, 200)
        if reference is None:
            continue
        shown, spread = measure(talk, "current")
        _steady(point, spread)
        raw = raw_current(shown, settings["trim_i_ppm"], settings["bend_i_ppb"])
        found.append(Point(shown, reference, raw))
        points[point] = {"shown": round(shown, 3), "reference": reference}
    if found:
        wanted["trim_i_ppm"], wanted["bend_i_ppb"] = two_point(
            found[0], found[1] if len(found) > 1 else None
        )
    if not wanted:
        notes["calibrate"] = {"ok": True, "skipped": True}
        return
    old = {name: settings[name] for name in wanted}
    # If this laptop stops in between, what was written so far is in the record.
    job.state.data["restore"][str(address)] = {**_pending(job, address), **old}
    job.state.save()
    try:
        for name, value in wanted.items():
            talk.set(name, value)
        points = _prove(talk, points, "i_high" if len(found) > 1 else "i_low")
    except (CheckFailed, KeyboardInterrupt):
        put_back(job, address)
        raise
    job.state.data["restore"].pop(str(address))
    notes["calibrate"] = {
        "ok": True, "points": points, "before": old, "written": wanted, "at_s": int(time.time()),
    }  # fmt: skip
    job.state.save()


def _volts(
    job: Job, talk: Talk, key: str, tell: Callable[[str], None]
) -> dict[str, list[tuple[float, float]]]:
    """What the node and the reference showed of each voltage, at one or two points."""
    home = job.home(talk.address)
    found: dict[str, list[tuple[float, float]]] = {}
    for n in range(2):
        if n == 1:
            second = any(job.ask.given(f"{key}.{_point(what, 1)}") for what in found)
            if not found or not job.ask.yes(
                f"{key}.second_voltage",
                f"Compare at a second voltage as well, {MIN_SPAN_V:g} V away or more (a variac)?",
                second,
            ):
                break
            tell("v_second")
        for what, _ in _VOLTS:
            if n == 1 and what not in found:
                continue
            point = _point(what, n)
            reference = job.ask.number(
                f"{key}.{point}", f"{home.name or talk.address}: reference at {what}, V", 80, 300
            )
            if reference is not None:
                shown, spread = measure(talk, what)
                _steady(point, spread)
                found.setdefault(what, []).append((shown, reference))
    return found


def _point(what: str, n: int) -> str:
    return what if n == 0 else f"{what}_second"


_READY = {
    "v_second": "Bring the supply of the node to the second voltage",
    "i_low": "Switch on a small load (0.5 to 2 A) and nothing else",
    "i_high": "Switch on a large load (a kettle, 9 A) besides",
}


def _pending(job: Job, address: int) -> dict[str, int]:
    found: dict[str, int] = job.state.data["restore"].get(str(address), {})
    return found


def _steady(what: str, spread: float) -> None:
    if spread > _STEADY:
        raise CheckFailed(
            f"{what} moved by {100 * spread:.0f} % while it was measured.",
            "Keep the load steady, and repeat.",
        )


def _prove(talk: Talk, points: dict[str, Any], last_current: str) -> dict[str, Any]:
    """Measures again what is still there to be measured. Raises CheckFailed."""
    out = {what: dict(point) for what, point in points.items()}
    for what, point in out.items():
        if what.startswith("i_") and what != last_current:
            continue  # that load is off
        if _point(what, 1) in out:
            continue  # that voltage has changed
        current = what.startswith("i_")
        time.sleep(_PAUSE_S)
        after, _ = measure(talk, "current" if current else what.removesuffix("_second"))
        point["after"] = round(after, 3)
        allowed = max(TOLERANCE_A, TOLERANCE_I * point["reference"]) if current else TOLERANCE_V
        if abs(after - point["reference"]) > allowed:
            raise CheckFailed(
                f"{what}: after calibration the node shows {after:.2f}, the reference "
                f"{point['reference']:.2f}; the old values are back.",
                "The supply or the load changed meanwhile: repeat with a steady one.",
            )
    return out


def put_back(job: Job, address: int) -> None:
    """Restores what a test or a failed calibration changed; each value is read back."""
    pending = dict(_pending(job, address))
    if not pending:
        return
    talk = job.talk(address)
    for name, value in pending.items():
        talk.set(name, value)
        job.state.data["restore"][str(address)].pop(name, None)
        job.state.save()
    job.state.data["restore"].pop(str(address), None)
    job.state.save()
