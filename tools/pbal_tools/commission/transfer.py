"""Step 5: each home visits every phase once and returns, under its own safety rules.

Ordered as the controller orders, with sealed Switch commands that expire. Nothing is bypassed:
dead time, band, rated current and daily cap stay the node's own. Only the dwell would stretch the
test to hours, so it is set to its smallest legal value, under the site's key, for the time of the
test; the old value is in this commissioning's record before it is changed, and is put back and read
back afterwards, also by the next run if this one is cut short.
"""

import secrets
import time
from typing import Any

from pbal_protocol import config, flags, names, records

from ..errors import CheckFailed, CliError, RefusedError
from .calibrate import put_back
from .evidence import PHASES
from .job import Job
from .loadmoves import CONTRADICTED, LAG_S, UNDECIDED, Change, Landed, Record, by_transfers
from .talk import Talk, nothing

TTL_S, TTL_MAX_S = 90, 600
_TURNS = 4  # of a home, in which an order or its result may be lost
_FOLLOW = 0.04  # of the input: how near the output must come to it
_SETTLE_S = 1.2  # a node's readings are up to a second old
_METER_EVERY_S = 0.4
_METER_AGAIN_S = 5.0  # where it did not answer
_METER_S = 12.0  # after a transfer, at most
_ATTEMPTS = 3  # of one move that was refused for a reason that passes
_PASSING = ("target out of band", "busy")
_GOOD_S = 7.0
REASONS = {
    getattr(names, name): name.removeprefix("REASON_").lower().replace("_", " ")
    for name in dir(names) if name.startswith("REASON_")
}  # fmt: skip
OUTCOMES = {1: "accepted", 2: "done", 3: "refused", 4: "failed", 5: "expired"}


class _Test:
    """One home's test: its trace for the picture, and what the transformer's meter and the node
    tell meanwhile.
    """

    def __init__(self, job: Job, talk: Talk) -> None:
        self.talk = talk
        self.begun = time.time()
        self.trace: list[list[Any]] = []
        self.record = Record()
        self.changes: list[Change] = []
        self.unseen: list[str] = []  # why others are not among these
        self._meter = job.meter
        self._next_s = 0.0

    def look(self) -> None:
        """Notes what the node told last and, now and then, reads the meter."""
        reading = self.talk.telemetry
        if reading is not None:
            self.record.note_home(self.talk.sampled_s(), reading.p_w, reading.current_a)
        if self._meter is None or time.monotonic() < self._next_s:
            return
        told = self._meter.read()
        if told is not None:
            self.record.note_meter(self._meter.at_s, told.p_w)
        pause_s = _METER_AGAIN_S if told is None else _METER_EVERY_S
        self._next_s = time.monotonic() + pause_s

    def seen_since(self, at_s: float) -> bool:
        """Whether node and meter were read since this time, where there is a meter."""
        record = self.record
        if self._meter is None or not record.meter:
            return True
        home_s = record.home[-1][0] if record.home else 0.0
        return home_s >= at_s and record.meter[-1][0] >= at_s + LAG_S

    def landed(self) -> Landed:
        """Where the load went."""
        if self._meter is None:
            return Landed(UNDECIDED, "the transformer has no meter")
        landed = by_transfers(self.changes, self.record.others(self.changes))
        if landed.verdict == UNDECIDED and self.unseen:
            return Landed(UNDECIDED, self.unseen[0], landed.lead)
        return landed


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
    test = _Test(job, talk)
    talk.meanwhile = test.look
    done: list[dict[str, Any]] = []
    try:
        talk.set("dwell_s", shortest)
        present = start
        for target in moves:
            job.note(f"home {address}: {PHASES[present - 1]} to {PHASES[target - 1]}")
            move = _move(test, present, target)
            for attempt in range(2, _ATTEMPTS + 1):
                if move["outcome"] != "refused" or move["reason"] not in _PASSING:
                    break
                _wait_good(test)
                move = _move(test, present, target)
                move["attempt"] = attempt
            done.append(move)
            notes["transfer"] = {
                "ok": False, "moves": done, "trace": test.trace, "start": start,
            }  # fmt: skip
            job.state.save()
            if move["outcome"] != "done" or not move["follows"]:
                break
            present = target
        else:
            present = start
        if present != start and talk.reading().phase == present:
            # It must end where it began: the transfer back is part of the test.
            done.append(_move(test, present, start))
    except KeyboardInterrupt:
        # No further transfer: it would darken the home once more, against a person's wish to stop.
        job.note(f"home {address} stays on the phase it is on; before the test it was on "
                 f"{PHASES[start - 1]}")  # fmt: skip
        raise
    finally:
        talk.meanwhile = nothing
        put_back(job, address)
    landed = test.landed()
    ok = len(done) == len(moves) and all(move["ok"] for move in done)
    reading = talk.reading()
    result = {
        "ok": ok and reading.phase == start and landed.verdict != CONTRADICTED,
        "moves": done, "trace": test.trace, "start": start, "load": landed.as_dict(),
        "end": reading.phase, "dwell_s": settings["dwell_s"],
        "dwell_after_s": talk.settings()["dwell_s"], "at_s": int(test.begun),
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


def _sample(test: _Test) -> records.Telemetry | None:
    """One poll for the picture; a lost answer is only a gap in it."""
    got = test.talk.poll(tries=1)
    test.look()
    for record in got:
        if isinstance(record, records.Telemetry):
            test.trace.append([
                round(time.time() - test.begun, 3), record.va_v, record.vb_v, record.vc_v,
                record.vout_v, record.phase, record.state,
            ])  # fmt: skip
            return record
    return None


def _move(test: _Test, present: int, target: int) -> dict[str, Any]:
    """One transfer, its result and what was measured of it."""
    talk = test.talk
    _wait_dwell(test)
    load_w = talk.reading().p_w
    test.look()
    turns_s = _TURNS * talk.medium.turn_s
    ttl_s = min(TTL_MAX_S, TTL_S + int(turns_s))
    patience_s = ttl_s + 15 + turns_s
    ordered = time.time()
    now = int(ordered)
    order = records.Switch(
        command_id=new_id(), to_phase=target, from_phase=present, issued_s=now,
        expires_s=now + ttl_s,
    )  # fmt: skip
    end = time.monotonic() + patience_s
    asked = 0.0
    result: records.SwitchResult | None = None
    while time.monotonic() < end:
        if result is None and time.monotonic() - asked > 1.0:
            asked = time.monotonic()
            talk.poll(order, tries=1)  # the same id: it is executed once
        _sample(test)
        result = talk.results.get(order.command_id)
        if result is not None and result.outcome != names.ACCEPTED:
            break
        time.sleep(0.02)
    if result is None or result.outcome == names.ACCEPTED:
        raise CheckFailed(
            f"Home {talk.address} gave no result within {patience_s:.0f} s.",
            "Look at its state:  pbal site check --scan, or on the controller's page.",
        )
    told = time.time()
    talk.poll(records.ResultAck(command_id=order.command_id))
    until = time.monotonic() + _SETTLE_S
    while time.monotonic() < until:
        _sample(test)
        time.sleep(0.1)
    reading = talk.reading()
    volts = (reading.va_v, reading.vb_v, reading.vc_v)
    off = abs(reading.vout_v - volts[target - 1])
    follows = reading.phase == target and off <= _FOLLOW * volts[target - 1]
    out: dict[str, Any] = {
        "from": PHASES[present - 1], "to": PHASES[target - 1],
        "outcome": OUTCOMES[result.outcome], "reason": REASONS.get(result.reason, ""),
        "transfer_ms": result.transfer_ms, "vout_v": reading.vout_v, "off_v": round(off, 2),
        "follows": follows, "at_s": now, "trace_s": round(ordered - test.begun, 3),
        "load_w": load_w, "ok": result.outcome == names.DONE and follows,
    }  # fmt: skip
    if result.outcome == names.DONE:
        out |= _seen(test, present, target, ordered, told, result)
    return out


def _seen(
    test: _Test, present: int, target: int, ordered: float, told: float,
    result: records.SwitchResult,
) -> dict[str, Any]:  # fmt: skip
    """What the transformer's meter shows of a transfer, once it shows what was after it."""
    until = time.monotonic() + _METER_S
    while not test.seen_since(told) and time.monotonic() < until:
        _sample(test)
        time.sleep(0.1)
    change = test.record.change(
        present, target, ordered, told, result.time_s, result.transfer_ms / 1000
    )
    if isinstance(change, str):
        test.unseen.append(change)
        return {"phases_w": None, "why": change}
    test.changes.append(change)
    return {"phases_w": [round(w) for w in change.phases_w]}


def _wait_good(test: _Test) -> None:
    """S3: a supply has to be good for 5 s after it was not, be it for one reading."""
    end = time.monotonic() + _GOOD_S
    while time.monotonic() < end:
        _sample(test)
        time.sleep(0.3)


def _wait_dwell(test: _Test) -> None:
    """Waits, 20 s and some turns at most, until the node itself reports that its dwell is over."""
    end = time.monotonic() + 20 + _TURNS * test.talk.medium.turn_s
    while time.monotonic() < end:
        reading = _sample(test)
        if reading is not None and reading.dwell_left_s == 0:
            return
        time.sleep(0.2)
    raise CheckFailed(
        f"Home {test.talk.address}: the dwell did not end after it was shortened.", "Repeat."
    )


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
