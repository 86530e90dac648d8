"""How the application ends, by an error or by a person at the console, and how it goes on in safe
mode. Loaded only then.
"""

import asyncio
import gc
import sys
import time

import machine
import micropython
from micropython import const

from pbal_node import rules
from pbal_node.console import console
from pbal_node.counters import STREAK, Counters
from pbal_node.journal import SelectorState
from pbal_node.store import FlashStats, makedirs

SAFE_AFTER = const(4)  # crashes in a row that lead to safe mode
_WAIT_S = const(600)  # a node on which safe mode fails, too, tries again after this
_WDT_MS = const(15000)
_IDLE_S = const(600)  # at the prompt, without anything that used the heap
_LONGEST_S = const(7200)
_REST_S = const(60)  # safe mode gives a part that failed another try after this
_EV_CRASH = const(13)
_ALARM = const(2)


def guarded(name: str, loop, beat, emit, now_ms):
    """The loop for safe mode: its failure does not end the loops that keep the node reachable."""

    async def run() -> None:
        while True:
            try:
                await loop()
            except Exception as e:
                sys.print_exception(e)
                emit(_EV_CRASH, _ALARM, -1, 0)
            for _ in range(_REST_S):
                beat(name, now_ms())  # the failure is reported: not stuck
                await asyncio.sleep(1)

    return run


def _count() -> bool:
    """One crash more in a row. True when there were too many; a power cut while the node then waits
    is a new start.
    """
    c = Counters("/cfg/counters", FlashStats())
    c.crashes = min(c.crashes + 1, STREAK)
    waits = c.crashes > SAFE_AFTER
    c.noted = not waits
    c.young = waits
    c.save()
    return waits


def crashed(error) -> None:
    """Write the traceback to /log/crash.txt, and count the crash.

    When safe mode fails, too, the console is open for a while, instead of one restart after the
    other. A contact at rest stays as it is meanwhile: the home keeps its power. Raises
    KeyboardInterrupt when a person asks for the prompt then.
    """
    waits = False
    try:
        makedirs("/cfg")
        makedirs("/log")
        waits = _count()
        if sys.path[0].startswith("/app/"):
            from pbal_node.slots import Slots

            Slots(FlashStats()).crashed()
        with open("/log/crash.txt", "w") as f:
            sys.print_exception(error, f)
    except OSError:
        pass
    if waits:
        if in_doubt():
            contacts_off()
        print("pbal: not even safe mode runs; /log/crash.txt says why. Ctrl-C gives the prompt.")
        asked = console()
        wdt = machine.WDT(timeout=_WDT_MS)
        for _ in range(_WAIT_S):
            wdt.feed()
            time.sleep(1)
            if asked():
                contacts_off()  # they are not supervised at the prompt
                raise KeyboardInterrupt


def by_a_person() -> None:
    """The prompt is next, the coils are off. The watchdog, which cannot be stopped, is fed from a
    timer while a person works there, so that copying files is not cut short; a node that is left at
    its prompt restarts. The next reset is not counted as a crash.
    """
    _care(machine.WDT(timeout=_WDT_MS), gc.mem_alloc, machine.reset)
    try:
        Counters("/cfg/counters", FlashStats()).settle()
    except (OSError, ValueError):
        pass
    micropython.kbd_intr(3)  # Ctrl-C interrupts again from here on


def in_doubt() -> bool:
    """A contact was moving, or is welded, or that is not known (S12)."""
    try:
        state = SelectorState("/cfg/selector", FlashStats())
    except (OSError, ValueError):
        return True
    return bool(rules.was_interrupted(state.stage) or rules.lockout_reason(state.lockout))


def _care(wdt, used, reset) -> None:
    """As in boot.py, which starts it anew after a soft reboot."""
    seen = [0, 0, 0]  # heap in use, for how long that much, how long in all

    def feed(_timer) -> None:
        now = used()
        if now != seen[0]:
            seen[0] = now
            seen[1] = 0
        seen[1] += 2
        seen[2] += 2
        if seen[1] > _IDLE_S or seen[2] > _LONGEST_S:
            reset()
        wdt.feed()

    machine.Timer(0).init(period=2000, mode=machine.Timer.PERIODIC, callback=feed)


def contacts_off() -> None:
    try:
        from pbal_node import board as boards

        boards.drive(boards.load())
    except (OSError, ValueError, KeyError):
        pass
