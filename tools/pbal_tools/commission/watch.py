"""Step 3: watches all homes and the transformer for a while and evaluates the evidence."""

import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CliError
from .evidence import PHASES
from .job import Job, signed_meter
from .phases import Finding, Watch, judge

_LOOK_EVERY = 8  # rounds between two checks whether everything is clear already
LEAST_ROUNDS = 24
NEAR_S = 2.5


class Watching:
    """The rounds of one watch."""

    def __init__(self, job: Job, dark: bool) -> None:
        self._job = job
        self._dark = dark
        self.homes: dict[int, Watch] = {}
        for address in job.reached():
            about = job.state.home(address)["contact"]
            home = job.home(address)
            self.homes[address] = Watch(address, home.name, 0, signed_meter(about["board"]))
        self.rounds = 0
        self.times: list[float] = []
        self.meter_v: list[tuple[float, float, float]] = []
        self.meter_w: list[tuple[float, float, float]] = []

    def _read_meter(self) -> None:
        meter = self._job.meter
        told = meter.read() if meter else None
        if meter and told and (not self.times or meter.at_s > self.times[-1]):
            self.times.append(meter.at_s)
            self.meter_v.append(told.v)
            self.meter_w.append(told.p_w)

    def round(self) -> None:
        """Reads every home once, and the transformer before each and after the last."""
        job = self._job
        self.rounds += 1
        for address, watch in self.homes.items():
            self._read_meter()
            try:
                # At the moment at which the node measured it, not that of the question.
                reading, at_s = job.talk(address).next_reading(self._read_meter)
            except CliError:
                continue
            watch.times.append(at_s)
            watch.v.append((reading.va_v, reading.vb_v, reading.vc_v))
            watch.vout.append(reading.vout_v)
            watch.p_w.append(reading.p_w)
            if watch.closed and reading.phase != watch.closed:
                watch.moved = True
            watch.closed = reading.phase or watch.closed
        self._read_meter()

    def findings(self) -> dict[int, Finding]:
        """The findings on each home from the rounds so far."""
        metered = len(self.times) >= 4
        reference: Watch | None = None
        if not metered and len(self.homes) > 1:
            # One home has to name the phases: the first that was read well.
            reference = max(self.homes.values(), key=lambda w: int(np.isfinite(w.vout).sum()))
        out = {}
        for address, watch in self.homes.items():
            if metered:
                finding = judge(
                    watch,
                    at_times(watch.times, self.times, self.meter_v),
                    at_times(watch.times, self.times, self.meter_w),
                    dark=self._dark,
                )
            elif reference is None or reference is watch:
                finding = judge(watch, None, None, relative_to=f"home {address}", dark=self._dark)
                if reference is watch and watch.closed:
                    finding.pairing = "ABC"
                    finding.real_phase = PHASES[watch.closed - 1]
                    finding.sure = not finding.faults and finding.direction != "unknown"
                elif reference is None:
                    finding.todo.append(
                        "there is nothing to compare it with: no meter at the transformer, no "
                        "second home; connect a meter ([transformer.meter] in the site file)"
                    )
            else:
                finding = judge(
                    watch, at_times(watch.times, reference.times, reference.v), None,
                    relative_to=f"home {reference.address}", dark=self._dark,
                )  # fmt: skip
            out[address] = finding
        return out


def at_times(
    wanted: list[float], times: list[float], rows: list[tuple[float, float, float]]
) -> npt.NDArray[np.float64]:
    """The rows at the wanted times: between two readings, by linear interpolation.

    NaN where the nearest reading is more than NEAR_S away.
    """
    out = np.full((len(wanted), 3), np.nan)
    if len(times) < 2:
        return out
    at, values = np.array(times), np.array(rows, dtype=float)
    asked = np.array(wanted)
    for k in range(3):
        out[:, k] = np.interp(asked, at, values[:, k])
    nearest = np.abs(asked[:, None] - at[None, :]).min(axis=1)
    out[nearest > NEAR_S] = np.nan
    return out


def identify(job: Job, seconds: float, period_s: float = 1.0) -> dict[str, Any]:
    """Watches until every home is clear, `seconds` at most. The findings go into the record."""
    dark = job.ask.yes("phases.no_generation", "Is it certain that nothing generates now?", False)
    job.ask.ready(
        "phases.kettle", "Have a kettle (2 kW) switched on and off twice in each home meanwhile"
    )
    watching = Watching(job, dark)
    end = time.monotonic() + seconds
    findings: dict[int, Finding] = {}
    while time.monotonic() < end:
        begun = time.monotonic()
        watching.round()
        count = watching.rounds
        job.note(f"round {count}, {end - begun:.0f} s left")
        if count >= LEAST_ROUNDS and count % _LOOK_EVERY == 0:
            findings = watching.findings()
            if all(_decided(f) for f in findings.values()):
                break
        time.sleep(max(0.0, min(period_s - (time.monotonic() - begun), end - time.monotonic())))
    findings = watching.findings()
    for address, finding in findings.items():
        watch = watching.homes[address]
        if job.state.home(address).get("phases", {}).get("ok") and not finding.faults:
            continue  # an earlier, clear finding is not replaced by a poorer one
        job.state.home(address)["phases"] = {
            "ok": finding.sure, **finding.as_dict(), "site_phase": job.home(address).phase,
            "record": {
                "times": [round(t, 2) for t in watch.times],
                "v": [[_number(x) for x in row] for row in watch.v],
                "vout": [_number(x) for x in watch.vout], "p_w": [_number(x) for x in watch.p_w],
            },
        }  # fmt: skip
    job.state.data["watch"] = {
        "times": [round(t, 2) for t in watching.times],
        "meter_v": [[_number(x) for x in row] for row in watching.meter_v],
        "meter_w": [[_number(x) for x in row] for row in watching.meter_w],
        "metered": len(watching.times) >= 4,
        "why_not": job.meter.failed if job.meter else "no meter",
    }  # fmt: skip
    job.state.save()
    return {
        "rounds": watching.rounds,
        "sure": [a for a, f in findings.items() if f.sure],
        "faults": {a: f.faults for a, f in findings.items() if f.faults},
        "unsure": {a: f.todo for a, f in findings.items() if not f.sure and not f.faults},
    }


def _decided(finding: Finding) -> bool:
    """Nothing more would be learnt: all three inputs and the direction, or a fault, are known."""
    known = finding.sure and finding.direction != "unknown"
    return known or bool(finding.pairing and finding.faults)


def _number(x: float) -> float | None:
    return round(float(x), 2) if math.isfinite(x) else None
