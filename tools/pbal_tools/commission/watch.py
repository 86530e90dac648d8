"""Step 3: watches all homes and the transformer for a while and lets the evidence speak."""

import math
import time
from typing import Any

import numpy as np

from ..errors import CliError
from .evidence import PHASES
from .job import Job, signed_meter
from .phases import Finding, Watch, from_energy, judge

_LOOK_EVERY = 8  # rounds between two looks at whether everything is clear already
LEAST_ROUNDS = 24
_NAN3 = (math.nan, math.nan, math.nan)


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
        self.times: list[float] = []
        self.meter_v: list[tuple[float, float, float]] = []
        self.meter_w: list[tuple[float, float, float]] = []

    def round(self) -> None:
        """Reads the transformer and every home once."""
        job = self._job
        told = job.meter.read() if job.meter else None
        self.times.append(time.time())
        self.meter_v.append(told.v if told else _NAN3)
        self.meter_w.append(told.p_w if told else _NAN3)
        for address, watch in self.homes.items():
            try:
                reading = job.talk(address).reading()
            except CliError:
                watch.v.append(_NAN3)
                watch.vout.append(math.nan)
                watch.p_w.append(math.nan)
                continue
            watch.v.append((reading.va_v, reading.vb_v, reading.vc_v))
            watch.vout.append(reading.vout_v)
            watch.p_w.append(reading.p_w)
            if watch.closed and reading.phase != watch.closed:
                watch.moved = True
            watch.closed = reading.phase or watch.closed

    def findings(self) -> dict[int, Finding]:
        """What the rounds so far say about each home."""
        meter_v = np.array(self.meter_v, dtype=float).reshape(-1, 3)
        metered = bool(self._job.meter) and int(np.isfinite(meter_v).all(axis=1).sum()) >= 4
        reference: Watch | None = None
        if not metered and len(self.homes) > 1:
            # Somebody has to name the phases: the first home that was read well.
            reference = max(self.homes.values(), key=lambda w: int(np.isfinite(w.vout).sum()))
        out = {}
        for address, watch in self.homes.items():
            if metered:
                finding = judge(watch, meter_v, np.array(self.meter_w, dtype=float).reshape(-1, 3))
            elif reference is None or reference is watch:
                finding = judge(watch, None, None, relative_to=f"home {address}")
                if reference is watch and watch.closed:
                    finding.pairing = "ABC"
                    finding.real_phase = PHASES[watch.closed - 1]
                    finding.sure = not finding.faults
            else:
                finding = judge(
                    watch, np.array(reference.v, dtype=float).reshape(-1, 3), None,
                    relative_to=f"home {reference.address}",
                )  # fmt: skip
            if finding.direction == "unknown":
                told = from_energy(np.array(watch.p_w, dtype=float), watch.signed, self._dark)
                finding.direction = told
                if told == "reversed":
                    finding.faults.append(
                        "it exports at night: the current transformer is the wrong way round"
                    )
                    finding.sure = False
            out[address] = finding
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
        count = len(watching.times)
        job.note(f"round {count}, {end - begun:.0f} s left")
        if count >= LEAST_ROUNDS and count % _LOOK_EVERY == 0:
            findings = watching.findings()
            if all(f.sure and f.direction not in ("unknown",) for f in findings.values()):
                break
        time.sleep(max(0.0, min(period_s - (time.monotonic() - begun), end - time.monotonic())))
    findings = watching.findings()
    for address, finding in findings.items():
        watch = watching.homes[address]
        job.state.home(address)["phases"] = {
            "ok": finding.sure, **finding.as_dict(), "site_phase": job.home(address).phase,
            "record": {
                "v": [[_number(x) for x in row] for row in watch.v],
                "vout": [_number(x) for x in watch.vout], "p_w": [_number(x) for x in watch.p_w],
            },
        }  # fmt: skip
    job.state.data["watch"] = {
        "times": [round(t, 2) for t in watching.times],
        "meter_v": [[_number(x) for x in row] for row in watching.meter_v],
        "meter_w": [[_number(x) for x in row] for row in watching.meter_w],
        "metered": bool(job.meter), "why_not": job.meter.failed if job.meter else "no meter",
    }  # fmt: skip
    job.state.save()
    return {
        "rounds": len(watching.times),
        "sure": [a for a, f in findings.items() if f.sure],
        "faults": {a: f.faults for a, f in findings.items() if f.faults},
        "unsure": {a: f.todo for a, f in findings.items() if not f.sure and not f.faults},
    }


def _number(x: float) -> float | None:
    return round(float(x), 2) if math.isfinite(x) else None
