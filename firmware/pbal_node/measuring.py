"""Voltages and the meter, read in time for the next poll; whether their sensors can be trusted."""

import asyncio
import math
import time

from micropython import const

from pbal_node import rules

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.events import EventLog
    from pbal_node.faults import Faults
    from pbal_node.journal import SelectorState
    from pbal_node.metering.base import Meter
    from pbal_node.metering.sense import Sense
    from pbal_node.selector import Limits, Selector
    from pbal_node.supply import Supply
    from pbal_node.watchdog import Watchdog

_MOST_MS = const(1000)  # a reading at least this often ...
_LEAST_MS = const(400)  # ... and at most this often
_AHEAD_MS = const(250)  # begun so long before the next poll: a reading takes up to 130 ms
_OUT_OF_TURN_MS = const(200)  # a poll so soon after another is not part of the rhythm
_NO_RHYTHM_MS = const(10000)
_MEASURE_AGAIN_MS = const(150)  # after a spoiled burst
_NAP_MS = const(200)
_METER_STALE_MS = const(4000)
_FAULT_MS = const(1500)  # output and phase disagree this long: do not trust the sensor
_BLIND_MS = const(5000)  # the converter gave nothing for so long

# As on the wire.
_STATE_CLOSED = const(2)
_STATE_WAITING = const(3)
_EV_METER_FAULT = const(6)
_EV_METER_OK = const(7)
_EV_SENSE_FAULT = const(15)
_EV_INRUSH = const(20)
_INFO = const(0)
_WARNING = const(1)
_ALARM = const(2)

_METER = const(72)  # a place of an error, see faults.py


class Rhythm:
    """The rhythm of the polls: a reading should be recent when the poller asks for it.

    Polls come in a rhythm: a controller polls its homes in turn. A reading begun a little before
    the next one is due is a quarter of a second old when it is sent; one begun at any other time is
    half a round older in the mean. Times in ms of the monotonic clock; a period of 0: none known.
    """

    def __init__(self) -> None:
        self.answered_ms = -1
        self.period_ms = 0

    def answered(self, now_ms: int) -> None:
        """A poll was answered."""
        gap = now_ms - self.answered_ms
        if self.answered_ms >= 0 and gap > _OUT_OF_TURN_MS:
            self.period_ms = gap if gap < _NO_RHYTHM_MS else 0
        self.answered_ms = now_ms

    def rest_ms(self, start_ms: int, now_ms: int) -> int:
        """How long to wait, after a reading begun at start_ms, before the next begins."""
        due = start_ms + _MOST_MS
        period = self.period_ms
        if period and now_ms - self.answered_ms < _NO_RHYTHM_MS:
            # A slow round is divided evenly.
            step = period // ((period + _MOST_MS - 1) // _MOST_MS)
            least = start_ms + _LEAST_MS
            first = self.answered_ms + period - _AHEAD_MS
            late = least - first
            due = min(first + (late + step - 1) // step * step, due)
        return max(due - now_ms, 0)


class Measuring:
    """`run` is a loop of the application; the one that drives the contacts calls `sample` too."""

    # Filled in by build.py.
    sense: "Sense"
    meter: "Meter"
    supply: "Supply"
    selector: "Selector"
    limits: "Limits"
    state_store: "SelectorState"
    log: "EventLog"
    faults: "Faults"
    rhythm: "Rhythm"
    watchdog: "Watchdog"

    def __init__(self, now_ms) -> None:
        self._now_ms = now_ms
        self._supply_faults = 0  # the sensors of these phases are broken, a bit each; 8: all blind
        self.meter_fault = False
        self._disagree_since = -1
        self._at_once = False

    # for the other parts ----------------------------------------------------------------------

    def current(self) -> float:
        """Amperes now; negative when the meter has no recent reading."""
        r = self.meter.reading
        if r.at_ms < 0 or not r.ok or self._now_ms() - r.at_ms > _METER_STALE_MS:
            return -1.0
        return r.current_a

    def load(self) -> float:
        """Amperes drawn now; negative when the home exports, or nothing recent is known."""
        return -1.0 if self.meter.reading.p_w < 0 else self.current()

    def at_zero(self, release_ms: float) -> int:
        """Wait, less than 40 ms, until an opening begun now meets a zero of the current (S6)."""
        r = self.meter.reading
        if self.sense.sample() and r.ok:
            behind = math.atan2(r.q_var, r.p_w) if r.p_w or r.q_var else 0.0
            time.sleep_us(self.sense.us_to_zero(int(release_ms * 1000), behind))
        return self._now_ms()

    def sense_fault(self) -> bool:
        """Some voltage of this node cannot be trusted."""
        return self._supply_faults > 0 or self.selector.sense_fault

    def wake(self) -> None:
        """The next reading begins now."""
        self._at_once = True

    # the loop ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Never ends."""
        while True:
            start = self._now_ms()
            for _ in range(3):
                good = self.selector.busy or self.sample()
                if good:
                    break
                await asyncio.sleep_ms(20)  # spoiled: let the bearers run first
            r = self.meter.reading
            at_ms = r.at_ms
            try:
                ok = await self.meter.read()
            except Exception as e:  # whatever it sent: a fault to report
                self.faults.note(_METER, e)
                ok = r.ok = False
            if ok and not r.plausible():
                ok = r.ok = False  # a broken meter: no reading, and no end of the application
                r.at_ms = at_ms
                self.meter.errors += 1
            self._note_meter(ok)
            now = self._now_ms()
            self.watchdog.beat("metering", now)
            rest = self.rhythm.rest_ms(start, now) if good else _MEASURE_AGAIN_MS
            # In short sleeps, for a MeasureNow; an interruptible wait would cost more heap.
            self._at_once = False
            while rest > 0 and not self._at_once:
                await asyncio.sleep_ms(min(rest, _NAP_MS))
                rest -= _NAP_MS

    def sample(self) -> bool:
        """One burst of all voltages; False when something else ran meanwhile and spoiled it."""
        if not self.sense.sample():
            if self._supply_faults < 8 and self._now_ms() - max(self.sense.at_ms, 0) > _BLIND_MS:
                self._supply_faults = 8
                self.log.emit(_EV_SENSE_FAULT, _ALARM, -15, self.sense.spoiled)
            return False
        now = self._now_ms()
        v = self.sense.v
        self.supply.update(now, v[1], v[2], v[3])
        self._check_sense(now)
        return True

    # plausibility -----------------------------------------------------------------------------

    def _check_sense(self, now: int) -> None:
        """The output must follow the closed phase; a sensor that does not is not trusted (S1)."""
        self._check_supplies()
        s = self.selector
        if s.busy or s.state == _STATE_WAITING:
            self._disagree_since = -1
            return
        v = self.sense.v
        if not self.sense.fault[0] and (
            s.state != _STATE_CLOSED or self._agrees(v[0], v[s.phase], now)
        ):
            self._disagree_since = -1
            s.sense_fault = False
        elif self._disagree_since < 0:
            self._disagree_since = now
        elif now - self._disagree_since >= _FAULT_MS and not s.sense_fault:
            s.sense_fault = True
            self.log.emit(_EV_SENSE_FAULT, _WARNING, s.phase, int(v[0] * 10))

    def _check_supplies(self) -> None:
        """A supply sensor that is stuck at a rail: its phase counts as dead; an event says so."""
        f = self.sense.fault
        found = (1 if f[1] else 0) | (2 if f[2] else 0) | (4 if f[3] else 0)
        if found & ~self._supply_faults:
            self.log.emit(_EV_SENSE_FAULT, _WARNING, -found, 0)
        self._supply_faults = found

    def _agrees(self, out_v: float, phase_v: float, now: int) -> bool:
        """The output's sensor against its phase, a meter of its own, and the auxiliary contacts."""
        off = 0.15 * self.limits.nominal_v
        s = self.selector
        if abs(out_v - phase_v) > off or not rules.contacts_agree(s.aux_closed(), s.phase):
            return False
        r = self.meter.reading
        if not self.meter.independent or not r.ok or now - r.at_ms > _METER_STALE_MS:
            return True
        return abs(out_v - r.v) <= off

    def _note_meter(self, ok: bool) -> None:
        """A meter silent though the output has been live for long is a fault; with a dead output
        it is expected, and the meter needs a moment to start.
        """
        r = self.meter.reading
        if ok:
            self.sense.set_frequency(r.freq_hz)
            if self.selector.fresh:
                self._note_inrush(r.current_a)
            if self.meter_fault:
                self.meter_fault = False
                self.log.emit(_EV_METER_OK, _INFO, 0, 0)
        elif (
            not self.meter_fault
            and self.selector.state == _STATE_CLOSED
            and self.sense.out_v > 0.5 * self.limits.nominal_v
            and self._now_ms() - max(r.at_ms, self.sense.first_live_ms) > _METER_STALE_MS
        ):
            self.meter_fault = True
            self.log.emit(_EV_METER_FAULT, _WARNING, self.meter.errors, 0)

    def _note_inrush(self, amps: float) -> None:
        """The first reading after a closing: above the rated current it counts as wear."""
        self.selector.fresh = False
        if amps > self.limits.rated_a:
            st = self.state_store
            st.inrushes += 1
            st.save()
            self.log.emit(_EV_INRUSH, _WARNING, st.inrushes, int(amps * 10))
