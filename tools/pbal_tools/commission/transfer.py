"""Step 5: each home visits every phase once and returns, under its own safety rules.

Ordered as the controller orders, with sealed Switch commands that expire. Nothing is bypassed:
dead time, band, rated current and daily cap stay the node's own. Only the dwell would stretch the
test to hours, so it is set to its smallest legal value, under the site's key, for the time of the
test; the old value is in this commissioning's record before it is changed, and is put back and read
back afterwards, also by the next run if this one is cut short.
"""

import math
import secrets
import time
from typing import Any

from pbal_protocol import config, flags, names, records

from ..errors import CheckFailed, CliError, RefusedError
from .calibrate import put_back
from .evidence import PHASES
from .job import Job
from .talk import Talk

TTL_S = 90
_FOLLOW = 0.04  # of the input: how near the output must come to it
_SETTLE_S = 1.2  # a node's readings are up to a second old
_METER_S = 3.0
_ATTEMPTS = 3  # of one move that was refused for a reason that passes
_PASSING = ("target out of band", "busy")
_GOOD_S = 7.0
_LOAD_W = 300.0
REASONS = {
    getattr(names, name): name.removeprefix("REASON_").lower().replace("_", " ")
    for name in dir(names) if name.startswith("REASON_")
}  # fmt: skip
OUTCOMES = {1: "accepted", 2: "done", 3: "refused", 4: "failed", 5: "expired"}


def new_id() -> int:
    """A command id beyond those of the controller, which follow the seconds since 2025."""
    return 0x80000000 | secrets.randbits(31)


def tour(job: Job, address: int) -> dict[str, Any]:
    """The whole test of one home; its result goes into the record.

    Raises RefusedError where the home must not be moved now.
    """
    notes = job.state.home(address)
    talk = job.talk(address)
    start = _may(job, talk)
    settings = talk.settings()
    moves = [start % 3 + 1, (start + 1) % 3 + 1, start]
    if talk.reading().switches_today + len(moves) > settings["daily_cap"]:
        raise RefusedError(
            f"Home {address}: the daily cap of {settings['daily_cap']} leaves no room for "
            f"{len(moves)} transfers today.",
            "Test it tomorrow.",
        )
    shortest = config.entry("dwell_s")[3]
    job.state.data["restore"].setdefault(str(address), {})["dwell_s"] = settings["dwell_s"]
    job.state.save()
    trace: list[list[Any]] = []
    done: list[dict[str, Any]] = []
    begun = time.time()
    try:
        talk.set("dwell_s", shortest)
        present = start
        for target in moves:
            job.note(f"home {address}: {PHASES[present - 1]} to {PHASES[target - 1]}")
            move = _move(job, talk, present, target, trace, begun)
            for attempt in range(2, _ATTEMPTS + 1):
                if move["outcome"] != "refused" or move["reason"] not in _PASSING:
                    break
                _wait_good(talk, trace, begun)
                move = _move(job, talk, present, target, trace, begun)
                move["attempt"] = attempt
            done.append(move)
            notes["transfer"] = {"ok": False, "moves": done, "trace": trace, "start": start}
            job.state.save()
            if move["outcome"] != "done" or not move["follows"]:
                break
            present = target
        else:
            present = start
        if present != start and talk.reading().phase == present:
            # It must end where it began: the transfer back is part of the test.
            done.append(_move(job, talk, present, start, trace, begun))
    finally:
        put_back(job, address)
    ok = len(done) == len(moves) and all(move["ok"] for move in done)
    reading = talk.reading()
    result = {
        "ok": ok and reading.phase == start, "moves": done, "trace": trace, "start": start,
        "end": reading.phase, "dwell_s": settings["dwell_s"],
        "dwell_after_s": talk.settings()["dwell_s"], "at_s": int(begun),
    }  # fmt: skip
    notes["transfer"] = result
    job.state.save()
    return result


def _may(job: Job, talk: Talk) -> int:
    """The phase on which a home that may be moved is now. Raises RefusedError."""
    reading = talk.reading()
    address = talk.address
    for flag in flags.found(reading.flags & ~records.FLAG_UNSYNCED):  # its clock is being set
        if flag.moving == flags.REFUSED:
            raise RefusedError(f"Home {address} {flag.says}.", "It is not tested.")
    if reading.phase == 0 or reading.state != names.STATE_CLOSED:
        raise RefusedError(
            f"Home {address} is not at rest on a phase (state {reading.state}).",
            "Wait for its supply, then repeat.",
        )
    return reading.phase


def _sample(talk: Talk, trace: list[list[Any]], begun: float) -> records.Telemetry | None:
    """One poll for the picture; a lost answer is only a gap in it."""
    for record in talk.poll(tries=1):
        if isinstance(record, records.Telemetry):
            trace.append([
                round(time.time() - begun, 3), record.va_v, record.vb_v, record.vc_v,
                record.vout_v, record.phase, record.state,
            ])  # fmt: skip
            return record
    return None


def _move(
    job: Job, talk: Talk, present: int, target: int, trace: list[list[Any]], begun: float
) -> dict[str, Any]:
    """One transfer, its result and what was measured of it."""
    _wait_dwell(talk, trace, begun)
    before = _meter(job)
    load_w = talk.reading().p_w
    ordered = time.time()
    now = int(ordered)
    order = records.Switch(
        command_id=new_id(), to_phase=target, from_phase=present, issued_s=now,
        expires_s=now + TTL_S,
    )  # fmt: skip
    end = time.monotonic() + TTL_S + 15
    asked = 0.0
    result: records.SwitchResult | None = None
    while time.monotonic() < end:
        if result is None and time.monotonic() - asked > 1.0:
            asked = time.monotonic()
            talk.poll(order, tries=1)  # the same id: it is executed once
        _sample(talk, trace, begun)
        result = talk.results.get(order.command_id)
        if result is not None and result.outcome != names.ACCEPTED:
            break
        time.sleep(0.02)
    if result is None or result.outcome == names.ACCEPTED:
        raise CheckFailed(
            f"Home {talk.address} gave no result within {TTL_S + 15} s.",
            "Look at its state:  pbal site check --scan, or on the controller's page.",
        )
    talk.poll(records.ResultAck(command_id=order.command_id))
    until = time.monotonic() + _SETTLE_S
    while time.monotonic() < until:
        _sample(talk, trace, begun)
        time.sleep(0.1)
    reading = talk.reading()
    volts = (reading.va_v, reading.vb_v, reading.vc_v)
    off = abs(reading.vout_v - volts[target - 1])
    follows = reading.phase == target and off <= _FOLLOW * volts[target - 1]
    out: dict[str, Any] = {
        "from": PHASES[present - 1], "to": PHASES[target - 1],
        "outcome": OUTCOMES[result.outcome], "reason": REASONS.get(result.reason, ""),
        "transfer_ms": result.transfer_ms, "vout_v": reading.vout_v, "off_v": round(off, 2),
        "follows": follows, "at_s": now, "trace_s": round(ordered - begun, 3), "load_w": load_w,
        "load_moved": _load_moved(job, before, present, target, load_w),
    }  # fmt: skip
    out["ok"] = bool(
        result.outcome == names.DONE and follows and out["load_moved"] != "contradicted"
    )
    return out


def _wait_good(talk: Talk, trace: list[list[Any]], begun: float) -> None:
    """S3: a supply has to be good for 5 s after it was not, be it for one reading."""
    end = time.monotonic() + _GOOD_S
    while time.monotonic() < end:
        _sample(talk, trace, begun)
        time.sleep(0.3)


def _wait_dwell(talk: Talk, trace: list[list[Any]], begun: float) -> None:
    """Waits, 20 s and some turns at most, until the node itself reports that its dwell is over."""
    end = time.monotonic() + 20 + 4 * talk.medium.turn_s
    while time.monotonic() < end:
        reading = _sample(talk, trace, begun)
        if reading is not None and reading.dwell_left_s == 0:
            return
        time.sleep(0.2)
    raise CheckFailed(
        f"Home {talk.address}: the dwell did not end after it was shortened.", "Repeat."
    )


def _meter(job: Job) -> tuple[float, float, float] | None:
    told = job.meter.read() if job.meter else None
    return told.p_w if told else None


def _load_moved(
    job: Job, before: tuple[float, float, float] | None, present: int, target: int, load_w: float
) -> str:
    """Whether the transformer saw the load go from one phase to the other.

    "seen", "contradicted" (it went elsewhere), or "not told": no meter, or too small a load.
    """
    if before is None or not math.isfinite(load_w) or abs(load_w) < _LOAD_W:
        return "not told"
    end = time.monotonic() + _METER_S
    verdict = "not told"
    while verdict != "seen" and time.monotonic() < end:
        after = _meter(job)
        if after is not None:
            verdict = _went([(after[k] - before[k]) / load_w for k in range(3)], present, target)
        time.sleep(0.3)
    return verdict


def _went(shares: list[float], present: int, target: int) -> str:
    """The verdict from the changes of the three phases, as shares of the home's load.

    A verdict needs a clear move, off one phase and onto another: other homes switch too.
    """
    low, _, high = sorted(range(3), key=lambda k: shares[k])
    third = 3 - low - high
    if shares[low] > -0.6 or shares[high] < 0.6 or abs(shares[third]) > 0.4:
        return "not told"
    return "seen" if (low, high) == (present - 1, target - 1) else "contradicted"


def restore_all(job: Job) -> list[int]:
    """Puts back what an earlier run left changed; the homes for which that was done."""
    homes = [int(a) for a in job.state.data["restore"]]
    for address in homes:
        try:
            put_back(job, address)
        except CliError as exc:
            raise CheckFailed(
                f"Home {address} still has test settings: {exc.message}",
                "Bring it back on the line and run this again; they are put back first.",
            ) from None
    return homes
