"""The node application: its parts, and the loops that run them.

    measuring --readings--> supply --> autonomy --+
                                                  v
    bearers <--> link ---- Switch command --> selector --> drive
                                                  |
    housekeeping: watchdog, heap, flash work      +--> events --> link

Loops: bearers (requests), measuring (voltages, meter), selector (contacts), housekeeping. One that
ends or raises ends the application: the node records the crash and resets.
"""

import asyncio
import gc
import struct
import sys

import machine
from micropython import const

from pbal_node import unload

TYPE_CHECKING = const(0)  # a type checker takes it for 1

_UNSEEN_MS = const(1500)  # supplies that were not measured for so long
_IDLE_POLL_MS = const(100)
_STABLE_MS = const(120000)  # an application that runs this long can be started
# A start that lasts this long clears the crash count; safe mode ends. Contacts that a reset
# opens close once for each start: so at most twice in this time however a node crashes.
_SETTLED_MS = const(600000)
_WDT_MS = const(15000)
# Longest time without progress of a loop, ms. Bearers restart by themselves instead (S11).
_WATCHED = {"metering": 6000, "selector": 4000}
_BUTTON_MS = const(5000)

# As on the wire.
_STATE_CLOSED = const(2)
_EV_UPDATE_FAILED = const(19)
_EV_CLOCK_MOVED = const(22)
_WARNING = const(1)
_ALARM = const(2)
_WHY_INTERNAL = const(10)

# Places of an error, see faults.py.
_SLOW_WORK = const(66)
_LOADING = const(67)

if TYPE_CHECKING:
    from pbal_node.autonomy import Autonomy
    from pbal_node.clock import Monotonic, SiteClock
    from pbal_node.counters import Counters, Floors
    from pbal_node.discovery import Finder
    from pbal_node.drive import HeldDrive, LatchingDrive
    from pbal_node.events import EventLog
    from pbal_node.faults import Faults
    from pbal_node.journal import SelectorState
    from pbal_node.link import Link
    from pbal_node.measuring import Measuring
    from pbal_node.metering.base import Meter
    from pbal_node.metering.sense import Sense
    from pbal_node.report import Report
    from pbal_node.selector import Limits, Selector, Timing
    from pbal_node.settings import Settings
    from pbal_node.slots import Slots
    from pbal_node.store import FlashStats, Slot
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
    settings: "Settings"
    sense: "Sense"
    meter: "Meter"
    supply: "Supply"
    measuring: "Measuring"
    state_store: "SelectorState"
    timing: "Timing"
    drive: "HeldDrive | LatchingDrive"
    limits: "Limits"
    selector: "Selector"
    autonomy: "Autonomy"
    report: "Report"
    link: "Link | None"
    finder: "Finder | None"
    slots: "Slots | None"
    led: "machine.Pin | None"
    button: "machine.Pin | None"
    release_key: str
    proven_ms: int
    safe_mode: bool
    release_slot: "Slot"
    release_kept_ms: float

    def __init__(self) -> None:
        # Loading leaves garbage between objects that stay; collected late, the heap is fragmented.
        gc.threshold(16384)
        from pbal_node.importer import Importer

        importer = Importer()
        importer.begin()
        try:
            self._build()
        finally:
            importer.end()
            unload("pbal_node", "importer")
        if self.radio:
            self._fit_radio()
        gc.collect()
        gc.threshold(gc.mem_free() // 8 + gc.mem_alloc())

    def _build(self) -> None:
        from pbal_node import build
        from pbal_node.console import console
        from pbal_node.watchdog import Watchdog

        self.link = None
        self.finder = None
        self.slots = None  # None on a node that never took an update
        self.radio = None  # what fitting.py needs for one, until it is fitted
        self.led = None
        self.button = None
        self.bearers: list = []  # see docs/node.md, "Bearers"
        self._pressed_ms = -1
        self._wake_selector = asyncio.Event()
        build.assemble(self)
        self.console = console(self.log.emit)
        del build
        unload("pbal_node", "build")
        unload("pbal_node", "hardware")
        unload("pbal_node", "board")
        unload("pbal_protocol", "kdf")
        # The hardware watchdog is not fed through it until run().
        self._watch(Watchdog(lambda: None, _WATCHED, self.now_ms()))

    def _fit_radio(self) -> None:
        """Done last: the modules needed once per boot are unloaded by now. A node whose radio does
        not fit the heap runs without it.
        """
        about, self.radio = self.radio, None
        gc.collect()
        try:
            from pbal_node.bearers.fitting import fit

            self.bearers.extend(fit(self, about))
        except Exception as e:
            self.faults.note(_LOADING, e)
        unload("pbal_node.bearers", "fitting")
        unload("pbal_protocol.radio", "plans")

    def now_ms(self) -> int:
        """Milliseconds since boot."""
        return self.mono.now()

    def _watch(self, watchdog) -> None:
        self.watchdog = self.measuring.watchdog = watchdog

    # for the parts ----------------------------------------------------------------------------

    def silent_ms(self) -> int:
        """Time since the last authentic frame of the controller for this node; 0 without keys."""
        return self.now_ms() - self.link.heard_ms if self.link else 0

    def clock_moved(self, seconds: int, ahead_s: int) -> None:
        """Site time was stepped, or is behind proven time: commands expire by the later one."""
        self.log.emit(_EV_CLOCK_MOVED, _WARNING, seconds, ahead_s)

    def wake_selector(self) -> None:
        """There is a command: the selector's loop does not wait."""
        self._wake_selector.set()

    # updates ----------------------------------------------------------------------------------

    def load_slots(self) -> "Slots":
        """The record of which application runs; loaded where there was an update."""
        from pbal_node.slots import Slots

        self.slots = Slots(self.stats)
        return self.slots

    def _load_updater(self) -> None:
        """Once per boot, when the first Update came and was deferred."""
        link = self.link
        if link is None:
            return
        try:
            gc.collect()
            from pbal_node.update import attach

            link.updater = attach(
                self.release_key,
                self.slots or self.load_slots(),
                self.report.board_id,
                self.selector,
                self.measuring,
                self.log,
                self.faults,
            )
        except Exception as e:  # too little heap: the node runs on without updates
            self.faults.note(_LOADING, e)
            link.wants_updater = False
            unload("pbal_node", "update")
            unload("pbal_protocol", "ota")
            gc.collect()
            self.log.emit(_EV_UPDATE_FAILED, _ALARM, _WHY_INTERNAL, 0)

    # loops ------------------------------------------------------------------------------------

    async def _selecting(self) -> None:
        s = self.selector
        sample = self.measuring.sample
        if s.began:
            s.recover(self.now_ms())  # safe mode restarts a loop that failed
        else:
            s.boot(self.now_ms())
        wake = self._wake_selector
        samples = 0
        while True:
            if s.busy:
                samples += 1
                # The supplies must be measured during a long wait, too.
                if samples % 32 == 0 or s.wants_supply or s.proving_live:
                    sample()
                else:
                    self.sense.sample_out()
                s.poll(self.now_ms())
                self.watchdog.beat("selector", self.now_ms())
                await asyncio.sleep_ms(1)
                continue
            samples = 0
            now = self.now_ms()
            if self.safe_mode and now - self.supply.at_ms > _UNSEEN_MS:
                sample()  # the measuring loop may be the one that fails
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
            if late > self.report.loop_max_ms:
                self.report.loop_max_ms = late
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
                # Safe mode was stable: a clean boot leaves it, a crash brings it back (build.py).
                self.counters.settle(self.counters.crashes if self.safe_mode else 0)
                if self.safe_mode:
                    machine.reset()
            if self.led and not (self.finder and self.finder.blinking):
                self.led.value(1 if self.selector.state == _STATE_CLOSED else (now // 500) & 1)
            self._poll_button(now)
            if self.console():
                raise KeyboardInterrupt("pbal: the node is stopped; reset to start it")

    def _every_two_seconds(self, now: int) -> None:
        """Collect garbage at a chosen time, record the heap in use, feed the watchdog."""
        gc.collect()
        used = gc.mem_alloc()
        if used > self.report.heap_used_max:
            self.report.heap_used_max = used
        answered = 0
        for bearer in self.bearers:
            bearer.alive(now)  # restarts it when it makes no progress
            answered += bearer.answered
        self._keep_release()
        fed = self.watchdog.poll(now)
        if fed and self.slots and self.slots.on_trial:
            heard = bool(self.link and self.link.heard_ms and answered)
            metered = self.measuring.current() >= 0
            self.slots.prove(now, self.proven_ms, heard, metered, self.log.emit)

    def _keep_release(self) -> None:
        """Keep the contact's measured release time over a reset; written when it moved by 1 ms."""
        now_ms = self.selector.contacts.release_ms
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
        """The loops, until one of them fails."""
        from pbal_node.watchdog import Watchdog

        gc.collect()
        self.report.heap_used_max = gc.mem_alloc()
        machine.Timer(0).deinit()  # boot.py's: from here on only progress feeds (S11)
        self._watch(Watchdog(machine.WDT(timeout=_WDT_MS).feed, _WATCHED, self.now_ms()))
        loops = [self.measuring.run, self._selecting]
        if self.safe_mode:
            from pbal_node.shutdown import guarded

            beat = self.watchdog.beat
            loops = [
                guarded("metering", loops[0], beat, self.log.emit, self.now_ms),
                guarded("selector", loops[1], beat, self.log.emit, self.now_ms),
            ]
        await asyncio.gather(
            *[bearer.run() for bearer in self.bearers],
            *[loop() for loop in loops],
            self._housekeeping(),
        )


def main() -> None:
    """Run until reset. An error is recorded, then the node starts again."""
    app = None
    try:
        try:
            app = App()
            asyncio.run(app.run())
        except Exception as e:  # any error that ends the application: record, then reset
            if app and (app.selector.busy or app.drive.busy):
                app.drive.coils_off()  # first, as nothing must be loaded for it
            app = None
            sys.print_exception(e)
            gc.collect()
            from pbal_node import shutdown

            shutdown.crashed(e)
    except KeyboardInterrupt:  # by the console: nothing else raises it
        if app:
            app.drive.coils_off()
        from pbal_node import shutdown

        shutdown.by_a_person()
        raise
    except Exception as e:  # recorded or not: the next boot knows that this one did not last
        sys.print_exception(e)
    machine.reset()
