"""The node application: builds the parts from the board file and runs their loops.

    metering --readings--> supply --> autonomy --+
                                                 v
    bearer <--> link ---- Switch command ---> selector --> drive
                                                 |
    housekeeping: watchdog, heap, flash work     +--> events --> link

Loops: bearer (requests), metering (voltages, meter), selector (contacts), housekeeping. One that
ends or raises ends the application: the node records the crash and resets.
"""

import asyncio
import gc
import math
import os
import struct
import sys
import time

import machine
from micropython import const

from pbal_node import rules
from pbal_node.console import console
from pbal_node.version import VERSION_CODE
from pbal_node.watchdog import Watchdog
from pbal_protocol import config as settings
from pbal_protocol import records
from pbal_protocol.errors import PbalError

TYPE_CHECKING = const(0)  # a type checker takes it for 1

_MEASURE_AGAIN_MS = const(150)  # after a spoiled burst
_NAP_MS = const(200)
_UNSEEN_MS = const(1500)  # supplies that nobody has measured for so long
_METER_STALE_MS = const(4000)
_IDLE_POLL_MS = const(100)
_STABLE_MS = const(120000)  # an application that runs this long can be started
# A start that lasts this long forgets the crashes before it; safe mode ends. Contacts that a reset
# lets fall close once for each start: so at most twice in this time however a node crashes.
_SETTLED_MS = const(600000)
_WDT_MS = const(15000)
# Longest silence of a loop, ms. The bearer is not among them: it starts anew by itself (S11).
_WATCHED = {"metering": 6000, "selector": 4000}
_FAULT_MS = const(1500)  # output and phase disagree this long: do not trust the sensor
_BUTTON_MS = const(5000)
_BLIND_MS = const(5000)  # the converter gave nothing for so long

# As on the wire.
_FLAG_FIXED = const(1)
_FLAG_LOCKOUT = const(2)
_FLAG_METER_FAULT = const(4)
_FLAG_SAFE_MODE = const(8)
_FLAG_UNSYNCED = const(16)
_FLAG_EVENTS_PENDING = const(32)
_FLAG_AUTONOMOUS = const(64)
_FLAG_SENSE_FAULT = const(128)
_FLAG_OPTED_OUT = const(256)
_STATE_OPEN = const(1)
_STATE_CLOSED = const(2)
_STATE_WAITING = const(3)
_STATE_RETURN = const(7)
_STATE_LOCKOUT = const(8)
_EV_METER_FAULT = const(6)
_EV_METER_OK = const(7)
_EV_SENSE_FAULT = const(15)
_EV_UPDATE_FAILED = const(19)
_EV_INRUSH = const(20)
_EV_CLOCK_MOVED = const(22)
_INFO = const(0)
_WARNING = const(1)
_ALARM = const(2)
_WHY_INTERNAL = const(10)

# Places of an error, see faults.py.
_SLOW_WORK = const(66)
_LOADING = const(67)
_METER = const(72)


def unload(package: str, name: str) -> None:
    """Free the code of a module that is needed once a boot."""
    module = sys.modules.pop(package + "." + name, None)
    if module is not None:
        # A stale pointer somewhere keeps an empty module at most, not all that was in it.
        module.__dict__.clear()
    parent = sys.modules.get(package)
    if parent is not None and hasattr(parent, name):
        delattr(parent, name)


# What the parts keep: were these functions in build.py, none of it could be freed.


def legal(key: int, value) -> bool:
    """True when the setting may have this value."""
    try:
        settings.check(key, value)
    except PbalError:
        return False
    return True


def legal_beside(marked: list):
    """`legal`, and no setting takes back what the identity marks on site (S10)."""
    return lambda key, value: legal(key, value) and (value != 0 or key not in marked)


def random_u32() -> int:
    """30 random bits: as much as a small integer of the chip holds without a sign."""
    r = os.urandom(4)
    return r[0] | r[1] << 8 | r[2] << 16 | (r[3] & 0x3F) << 24


def randrange(n: int) -> int:
    """A random number, 0..n-1."""
    return random_u32() % n


def told_v(v: float) -> float:
    """A voltage as a record can hold it; what is no number is none."""
    return min(v, 600.0) if v >= 0 else 0.0


def told_wh(wh: float) -> int:
    """The same of an energy."""
    return int(min(0xFFFFFFFF, wh)) if wh >= 0 else 0


if TYPE_CHECKING:
    from pbal_node.autonomy import Autonomy, Settings
    from pbal_node.clock import Monotonic, SiteClock
    from pbal_node.drive import HeldDrive, LatchingDrive
    from pbal_node.events import EventLog
    from pbal_node.faults import Faults
    from pbal_node.link import Link
    from pbal_node.metering.base import Meter
    from pbal_node.metering.sense import Sense
    from pbal_node.rs485 import Rs485
    from pbal_node.selector import Limits, Selector, Timing
    from pbal_node.slots import Slots
    from pbal_node.store import Config, Counters, FlashStats, Floors, SelectorState, Slot
    from pbal_node.supply import Supply


class App:
    """One node. `run()` never returns; tests may build it against any `machine`."""

    # Filled in by build.py.
    mono: "Monotonic"
    clock: "SiteClock"
    stats: "FlashStats"
    counters: "Counters"
    floors: "Floors"
    log: "EventLog"
    faults: "Faults"
    config: "Config"
    sense: "Sense"
    meter: "Meter"
    supply: "Supply"
    state_store: "SelectorState"
    timing: "Timing"
    drive: "HeldDrive | LatchingDrive"
    limits: "Limits"
    selector: "Selector"
    settings: "Settings"
    autonomy: "Autonomy"
    bearer: "Rs485"
    link: "Link | None"
    slots: "Slots | None"
    led: "machine.Pin | None"
    button: "machine.Pin | None"
    eui: bytes
    release_key: str
    proven_ms: int
    reset_cause: int
    safe_mode: bool
    board_id: int
    board_rated_a: float
    board_dead_ms: int
    release_slot: "Slot"
    release_kept_ms: float

    def now_ms(self) -> int:
        """Milliseconds since boot."""
        return self.mono.now()

    def __init__(self) -> None:
        # Loading leaves garbage between what stays; collected late, it leaves a heap full of holes.
        gc.threshold(16384)
        from pbal_node import build

        self.link = None
        self.slots = None  # a node that never took an update does without
        self.led = None
        self.button = None
        self.heap_used_max = 0
        self.loop_max_ms = 0
        self._supply_faults = 0  # the sensors of these phases are broken, a bit each; 8: all blind
        self._meter_fault = False
        self._disagree_since = -1
        self._pressed_ms = -1
        self._wake_selector = asyncio.Event()
        self._measure_now = False
        self.console = console()
        build.assemble(self)
        del build
        unload("pbal_node", "build")
        unload("pbal_node", "board")
        unload("pbal_protocol", "kdf")
        # It feeds nothing until run().
        self.watchdog = Watchdog(lambda: None, _WATCHED, self.now_ms())
        gc.collect()
        gc.threshold(gc.mem_free() // 8 + gc.mem_alloc())

    # updates ----------------------------------------------------------------------------------

    def load_slots(self) -> "Slots":
        """The record of which application runs; loaded where there was an update."""
        from pbal_node.slots import Slots

        self.slots = Slots(self.stats)
        return self.slots

    def _load_updater(self) -> None:
        """Once a boot, when the first Update came and was put off."""
        link = self.link
        if link is None:
            return
        try:
            gc.collect()
            from pbal_node.update import attach

            link.updater = attach(self, self.slots or self.load_slots())
        except Exception as e:  # a board with too little room: it goes on as it is
            self.faults.note(_LOADING, e)
            link.wants_updater = False
            unload("pbal_node", "update")
            unload("pbal_protocol", "ota")
            gc.collect()
            self.log.emit(_EV_UPDATE_FAILED, _ALARM, _WHY_INTERNAL, 0)

    # settings -------------------------------------------------------------------------------

    def apply_config(self) -> None:
        """Copy the settings to where they are used; the board's own limits still bind."""
        get = self.config.get
        lim = self.limits
        lim.dwell_ms = get(settings.DWELL_S) * 1000
        lim.daily_cap = get(settings.DAILY_CAP)
        lim.fixed = get(settings.FIXED)
        lim.opted_out = get(settings.OPTED_OUT)
        lim.good_time_ms = get(settings.GOOD_TIME_MS)
        lim.rated_a = min(self.board_rated_a, get(settings.RATED_SWITCH_MA) / 1000)
        # A band without the nominal voltage would keep a home open for good after an outage (S3).
        self.supply.low_v = min(get(settings.BAND_LOW_DV) / 10, 0.95 * lim.nominal_v)
        self.supply.high_v = max(get(settings.BAND_HIGH_DV) / 10, 1.05 * lim.nominal_v)
        self.timing.dead_time_ms = max(self.board_dead_ms, get(settings.DEAD_TIME_MS))
        s = self.settings
        s.confirm_ms = get(settings.AUTONOMY_CONFIRM_MS)
        s.spread_ms = get(settings.AUTONOMY_SPREAD_MS)
        s.return_spread_ms = get(settings.RETURN_SPREAD_MS)
        s.good_time_ms = lim.good_time_ms
        s.silent_hours = get(settings.SILENT_HOURS)
        for c in range(4):
            self.sense.trim(c, get(settings.TRIM_OUT_PPM + c))
        self.meter.trim(
            get(settings.TRIM_OUT_PPM), get(settings.TRIM_I_PPM), get(settings.BEND_I_PPB)
        )

    def fits(self, key: int, value: int) -> bool:
        """False for a calibration with which the output would not follow the phase that is closed:
        no contact could be closed with it any more (S1). One that brings them nearer always fits.
        """
        c = key - settings.TRIM_OUT_PPM
        phase = self.phase()
        if not phase or c not in (0, phase):
            return True
        v = self.sense.v
        more = (1000000 + value) / (1000000 + self.config.get(key))
        other = v[phase - c]
        off = abs(v[c] * more - other)
        return off <= 0.10 * self.limits.nominal_v or off <= abs(v[c] - other)

    # what others ask --------------------------------------------------------------------------

    def current(self) -> float:
        """Amperes now; negative when the meter has nothing recent to say."""
        r = self.meter.reading
        if r.at_ms < 0 or not r.ok or self.now_ms() - r.at_ms > _METER_STALE_MS:
            return -1.0
        return r.current_a

    def load(self) -> float:
        """Amperes drawn now; negative when the home feeds in, or nothing recent is known."""
        return -1.0 if self.meter.reading.p_w < 0 else self.current()

    def at_zero(self, release_ms: float) -> int:
        """Wait, less than 40 ms, until an opening begun now meets a zero of the current (S6)."""
        r = self.meter.reading
        if self.sense.sample() and r.ok:
            behind = math.atan2(r.q_var, r.p_w) if r.p_w or r.q_var else 0.0
            time.sleep_us(self.sense.us_to_zero(int(release_ms * 1000), behind))
        return self.now_ms()

    def silent_ms(self) -> int:
        """How long no authentic frame of the controller has come for this node."""
        return self.now_ms() - self.link.heard_ms if self.link else 0

    def phase(self) -> int:
        """The closed phase, 0 while the home is open or between phases."""
        s = self.selector
        return s.phase if s.state in (_STATE_CLOSED, _STATE_WAITING, _STATE_LOCKOUT) else 0

    def state(self) -> int:
        s = self.selector.state
        return _STATE_RETURN if s == _STATE_OPEN else s

    def flags(self) -> int:
        lim = self.limits
        return (
            (_FLAG_FIXED if lim.fixed else 0)
            | (_FLAG_OPTED_OUT if lim.opted_out else 0)
            | (_FLAG_LOCKOUT if self.state_store.lockout else 0)
            | (_FLAG_METER_FAULT if self._meter_fault else 0)
            | (_FLAG_SAFE_MODE if lim.safe_mode else 0)
            | (0 if self.clock.synced else _FLAG_UNSYNCED)
            | (_FLAG_EVENTS_PENDING if self.log.pending else 0)
            | (_FLAG_SENSE_FAULT if self.sense_fault() else 0)
            | (_FLAG_AUTONOMOUS if self.selector.autonomous else 0)
        )

    def sense_fault(self) -> bool:
        """Some voltage of this node cannot be believed."""
        return self._supply_faults > 0 or self.selector.sense_fault

    def clock_moved(self, seconds: int, ahead_s: int) -> None:
        """Site time made a step, or is behind proven time: no command runs before that."""
        self.log.emit(_EV_CLOCK_MOVED, _WARNING, seconds, ahead_s)

    def fill_telemetry(self, t) -> None:
        """The newest readings into a Telemetry record."""
        now = self.now_ms()
        v = self.sense.v
        r = self.meter.reading
        t.time_s = self.clock.now_s()
        t.va_v = told_v(v[1])
        t.vb_v = told_v(v[2])
        t.vc_v = told_v(v[3])
        t.vout_v = told_v(self.sense.out_v)
        if r.ok and r.plausible():
            t.current_a = r.current_a
            t.p_w = r.p_w
            t.q_var = r.q_var
            t.freq_hz = r.freq_hz
        else:
            t.current_a = t.p_w = t.q_var = t.freq_hz = 0.0
        t.e_import_wh = told_wh(r.e_import_wh)
        t.e_export_wh = told_wh(r.e_export_wh)
        t.phase = self.phase()
        t.state = self.state()
        t.flags = self.flags()
        at = self.sense.at_ms
        if r.ok and r.at_ms < at:
            at = r.at_ms
        t.age_ms = min(max(now - at, 0), 65535) if at >= 0 else 65535
        t.dwell_left_s = min((self.selector.dwell_left_ms(now) + 999) // 1000, 65535)
        t.switches_today = min(self.selector.switches_today(), 255)

    def hello(self, down_floor: int):
        return records.Hello(
            eui=self.eui,
            nonce=self.clock.ask(random_u32()),
            boots=self.counters.boots,
            reset_cause=self.reset_cause,
            down_floor=down_floor,
            fw_version=VERSION_CODE,
            board=self.board_id,
            phase=self.phase(),
            state=self.state(),
            flags=self.flags(),
        )

    def health(self, link):
        bad = link.bad
        rx = self.bearer.rx
        return records.Health(
            uptime_s=self.now_ms() // 1000,
            heap_free=gc.mem_free(),
            heap_used_max=self.heap_used_max,
            loop_max_ms=min(self.loop_max_ms, 65535),
            bad_crc=rx.bad_crc + bad["bad_crc"],
            auth_failed=bad["auth_failed"],
            replayed=bad["replayed"],
            malformed=rx.malformed + bad["malformed"],
            expired=link.expired,
            flash_writes=self.stats.writes,
            meter_errors=self.meter.errors,
            lifetime_switches=self.state_store.lifetime,
            nonce=self.clock.nonce,
        )

    def wake_selector(self) -> None:
        self._wake_selector.set()

    def wake_meter(self) -> None:
        self._measure_now = True

    # loops ------------------------------------------------------------------------------------

    async def _metering(self) -> None:
        while True:
            start = self.now_ms()
            for _ in range(3):
                good = self.selector.busy or self._sample()
                if good:
                    break
                await asyncio.sleep_ms(20)  # spoiled: let the bearer have its turn first
            r = self.meter.reading
            at_ms = r.at_ms
            try:
                ok = await self.meter.read()
            except Exception as e:  # whatever came on its wire: a fault to report
                self.faults.note(_METER, e)
                ok = r.ok = False
            if ok and not r.plausible():
                ok = r.ok = False  # a broken meter: no reading, and no end of the application
                r.at_ms = at_ms
                self.meter.errors += 1
            self._note_meter(ok)
            now = self.now_ms()
            self.watchdog.beat("metering", now)
            rest = self.bearer.pace.rest_ms(start, now) if good else _MEASURE_AGAIN_MS
            # In naps, for a MeasureNow; a wait that can be broken off would cost more heap.
            self._measure_now = False
            while rest > 0 and not self._measure_now:
                await asyncio.sleep_ms(min(rest, _NAP_MS))
                rest -= _NAP_MS

    def _sample(self) -> bool:
        """One burst of all voltages; False when something else ran meanwhile and spoiled it."""
        if not self.sense.sample():
            if self._supply_faults < 8 and self.now_ms() - max(self.sense.at_ms, 0) > _BLIND_MS:
                self._supply_faults = 8
                self.log.emit(_EV_SENSE_FAULT, _ALARM, -15, self.sense.spoiled)
            return False
        now = self.now_ms()
        v = self.sense.v
        self.supply.update(now, v[1], v[2], v[3])
        self._check_sense(now)
        return True

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
        """A supply sensor that hangs at a rail: its phase counts as dead, and somebody hears it."""
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
        """A meter silent though the output has lived for long is a fault; with a dead one it is
        expected, and it needs a moment to start.
        """
        r = self.meter.reading
        if ok:
            self.sense.set_frequency(r.freq_hz)
            if self.selector.fresh:
                self._note_inrush(r.current_a)
            if self._meter_fault:
                self._meter_fault = False
                self.log.emit(_EV_METER_OK, _INFO, 0, 0)
        elif (
            not self._meter_fault
            and self.selector.state == _STATE_CLOSED
            and self.sense.out_v > 0.5 * self.limits.nominal_v
            and self.now_ms() - max(r.at_ms, self.sense.first_live_ms) > _METER_STALE_MS
        ):
            self._meter_fault = True
            self.log.emit(_EV_METER_FAULT, _WARNING, self.meter.errors, 0)

    def _note_inrush(self, amps: float) -> None:
        """The first reading after a closing: above the rated current it wore the contact."""
        self.selector.fresh = False
        if amps > self.limits.rated_a:
            st = self.state_store
            st.inrushes += 1
            st.save()
            self.log.emit(_EV_INRUSH, _WARNING, st.inrushes, int(amps * 10))

    async def _selecting(self) -> None:
        s = self.selector
        if s.began:
            s.recover(self.now_ms())  # safe mode lets a loop that failed begin again
        else:
            s.boot(self.now_ms())
        wake = self._wake_selector
        samples = 0
        while True:
            if s.busy:
                samples += 1
                # A long wait must not leave the supplies unwatched.
                if samples % 32 == 0 or s.wants_supply or s.proving_live:
                    self._sample()
                else:
                    self.sense.sample_out()
                s.poll(self.now_ms())
                self.watchdog.beat("selector", self.now_ms())
                await asyncio.sleep_ms(1)
                continue
            samples = 0
            now = self.now_ms()
            if self.safe_mode and now - self.supply.at_ms > _UNSEEN_MS:
                self._sample()  # the loop that measures may be what fails
                now = self.now_ms()
            s.poll(now)
            self.autonomy.poll(now)
            self.watchdog.beat("selector", now)
            wake.clear()
            if not s.busy:
                try:
                    await asyncio.wait_for_ms(wake.wait(), _IDLE_POLL_MS)
                except asyncio.TimeoutError:
                    pass

    async def _housekeeping(self) -> None:
        last = self.now_ms()
        stable = settled = False
        turn = 0
        while True:
            await asyncio.sleep_ms(500)
            now = self.now_ms()
            late = now - last - 500
            last = now
            if late > self.loop_max_ms:
                self.loop_max_ms = late
            turn += 1
            if turn % 4 == 0:
                self._every_two_seconds(now)
            try:
                if self.link:
                    self.link.slow_work()
                    if self.link.wants_updater and not self.link.updater:
                        self._load_updater()
                self.meter.slow_work()
            except Exception as e:
                self.faults.note(_SLOW_WORK, e)
            if not stable and now > _STABLE_MS:
                stable = True
                if self.slots:
                    self.slots.stable()
            if not settled and now > _SETTLED_MS:
                settled = True
                # Safe mode held: leave it through a clean boot, on probation (build.py).
                self.counters.settle(self.counters.crashes if self.safe_mode else 0)
                if self.safe_mode:
                    machine.reset()
            if self.led:
                self.led.value(1 if self.selector.state == _STATE_CLOSED else (now // 500) & 1)
            self._poll_button(now)
            if self.console():
                raise KeyboardInterrupt("pbal: the node is stopped; reset to start it")

    def _every_two_seconds(self, now: int) -> None:
        """Clean the heap at a time of our choosing, note what is really used, feed the watchdog."""
        gc.collect()
        used = gc.mem_alloc()
        if used > self.heap_used_max:
            self.heap_used_max = used
        self.bearer.alive(now)  # starts it anew if need be
        self._keep_release()
        fed = self.watchdog.poll(now)
        if fed and self.slots and self.slots.on_trial:
            heard = bool(self.link and self.link.heard_ms and self.bearer.answered)
            self.slots.prove(now, self.proven_ms, heard, self.current() >= 0, self.log.emit)

    def _keep_release(self) -> None:
        """The contact's own release time survives a reset, written when it moved by 1 ms."""
        now_ms = self.selector.release_ms
        if abs(now_ms - self.release_kept_ms) >= 1 and not self.selector.busy:
            if self.release_slot.save(struct.pack("<H", int(now_ms * 10))):
                self.release_kept_ms = now_ms

    def _poll_button(self, now: int) -> None:
        """Held for 5 s by a person on site: the welded contact was replaced (S2)."""
        if not self.button:
            return
        if self.button.value():
            self._pressed_ms = -1
        elif self._pressed_ms < 0:
            self._pressed_ms = now
        elif now - self._pressed_ms >= _BUTTON_MS:
            self._pressed_ms = now
            self.selector.clear_lockout(now)

    async def run(self) -> None:
        gc.collect()
        self.heap_used_max = gc.mem_alloc()
        machine.Timer(0).deinit()  # boot.py's: from here on only progress feeds (S11)
        self.watchdog = Watchdog(machine.WDT(timeout=_WDT_MS).feed, _WATCHED, self.now_ms())
        metering = self._metering
        selecting = self._selecting
        if self.safe_mode:
            from pbal_node.ending import guarded

            metering = guarded(self, "metering", metering)
            selecting = guarded(self, "selector", selecting)
        await asyncio.gather(self.bearer.run(), metering(), selecting(), self._housekeeping())


def main() -> None:
    """Run until reset. An error is recorded, then the node starts again."""
    app = None
    try:
        try:
            app = App()
            asyncio.run(app.run())
        except Exception as e:  # the one place where everything ends: record, then reset
            if app and (app.selector.busy or app.drive.busy):
                app.drive.coils_off()  # while it is at hand: nothing is loaded before it
            app = None
            sys.print_exception(e)
            gc.collect()
            from pbal_node import ending

            ending.crashed(e)
    except KeyboardInterrupt:  # by the console: nothing else raises it
        if app:
            app.drive.coils_off()
        from pbal_node import ending

        ending.by_a_person()
        raise
    except Exception as e:  # recorded or not: the next boot knows that this one did not last
        sys.print_exception(e)
    machine.reset()
