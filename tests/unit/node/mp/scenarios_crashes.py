"""Crashes, safe mode, crash loops, and what a person does, which is no crash.

Run by mp_faults.py; argv[2]: 1 for all the crash loops, else the quick ones alone.
"""

import asyncio
import os
import sys
import time

import machine
from whole import app_module, closes, codes, fails, house, opener, poll, run

from pbal_node import shutdown, journal, store
from pbal_node.measuring import Measuring
from pbal_protocol import names


def safe_mode_after_repeated_crashes():
    app_module.App().counters.settle()
    house.cause = machine.HARD_RESET  # what the ESP32 port says after machine.reset()
    for _ in range(4):
        fails()

    async def scenario(app):
        assert app.safe_mode and app.counters.crashes == 4
        assert (names.EVENT_SAFE_MODE, 4) in codes(app)
        assert (names.EVENT_CRASH, machine.HARD_RESET) in codes(app)
        up = opener()
        t = await poll(up)
        assert t.flags & names.FLAG_SAFE_MODE and t.phase == 0
        await asyncio.sleep_ms(2000)
        t = await poll(up)
        assert t.flags & names.FLAG_SAFE_MODE and (t.state, t.phase) == (2, 2), t
        assert house.closed() == [2]
        moved = dict(house.changed_us)
        house.volts[2] = 190.0  # nor does it leave a sick phase
        await asyncio.sleep_ms(7500)
        t = await poll(up)
        house.volts[2] = 229.0
        assert t is not None and house.changed_us.get(19) == moved.get(19)
        assert app.selector.command(1, 0, 2, 0, 9, app.now_ms()).reason in (9, 13)
        now = 1800000000
        assert app.clock.set(now, 0, app.clock.ask(5), True)
        assert app.selector.command(2, 0, 2, now, now + 60, app.now_ms()).reason == 13

    run(scenario)
    house.cause = machine.PWRON_RESET
    assert not app_module.App().safe_mode  # the power was away: a new start


def crashes_count_whatever_the_chip_says_of_its_reset():
    """An emulator may call every start a power-on."""
    app_module.App().counters.settle()
    house.cause = machine.PWRON_RESET
    for _ in range(4):
        fails()
    assert app_module.App().safe_mode
    assert not app_module.App().safe_mode  # that power-on came without a crash


def what_a_person_does_is_no_crash():
    """mpremote interrupts the application and then resets the chip; a soft reboot is one, too."""
    for cause in (machine.HARD_RESET, machine.SOFT_RESET):
        house.cause = cause
        for _ in range(6):
            fails_by_a_person()
            assert not app_module.App().safe_mode
            shutdown.by_a_person()
    # A start that lasted is no crash either, whoever reset the chip then.
    house.cause = machine.HARD_RESET
    for _ in range(6):
        app = app_module.App()
        assert not app.safe_mode
        app.counters.settle()
    # But a chip that resets itself before anything has lasted is one: a panic, a brown supply.
    for n in range(4):
        assert not app_module.App().safe_mode, n
    assert app_module.App().safe_mode
    house.cause = machine.WDT_RESET
    assert app_module.App().safe_mode
    house.cause = machine.PWRON_RESET
    app_module.App().counters.settle()


def fails_by_a_person():
    real = app_module.App._housekeeping

    async def interrupted(self):
        raise KeyboardInterrupt

    app_module.App._housekeeping = interrupted
    asyncio.new_event_loop()
    try:
        app_module.main()
        raise AssertionError
    except KeyboardInterrupt:
        pass
    finally:
        app_module.App._housekeeping = real


def safe_mode_survives_the_part_that_crashes():
    """Metering fails in every start: safe mode answers all the same."""
    app_module.App().counters.settle()
    house.cause = machine.HARD_RESET
    for _ in range(4):
        fails("run", OSError(5), of=Measuring)
    state = journal.SelectorState("/cfg/selector", store.FlashStats())
    state.stage = 2  # open before: 5 s of good voltage must be seen
    state.save()
    real = Measuring.run

    async def broken(self):
        raise OSError(5)

    async def scenario(app):
        assert app.safe_mode
        up = opener()
        t = await poll(up)
        assert t.flags & names.FLAG_SAFE_MODE
        await asyncio.sleep_ms(7000)  # longer than the watchdog allows a loop that is stuck
        fed = house.fed
        t = await poll(up)
        assert t is not None and t.phase == 2, "the home has no power"
        await asyncio.sleep_ms(2500)
        assert house.fed > fed
        assert (names.EVENT_CRASH, -1) in codes(app)

    Measuring.run = broken
    try:
        run(scenario)
    finally:
        Measuring.run = real


def not_even_safe_mode_runs():
    """Then the node waits for a person instead of starting over and over: a contact at rest stays
    as it is, one that was moving goes off.
    """
    for moving in (False, True):
        waits_for_a_person(moving)


def waits_for_a_person(moving):
    app_module.App().counters.settle()
    house.cause = machine.HARD_RESET
    for _ in range(4):
        fails()
    naps = []
    real = shutdown.time

    class Time:
        def sleep(self, s):
            naps.append(s)
            assert house.level[19] == (0 if moving else 1)
            if len(naps) == 700:
                raise AssertionError("waits for ever")

        def __getattr__(self, name):
            return getattr(real, name)

    def closed(app):
        if moving:
            app.state_store.stage = 1
            app.state_store.save()
        return app.selector.state == names.STATE_CLOSED

    shutdown.time = Time()
    fed = house.fed
    try:
        fails(when=closed)
    finally:
        shutdown.time = real
    assert sum(naps) == 600 and house.fed - fed >= 600
    house.cause = machine.PWRON_RESET
    assert not app_module.App().safe_mode
    app_module.App().counters.settle()


def a_crash_loop_chatters_no_contact():
    """Housekeeping crashes after so many seconds in every start; the contacts fall each time."""
    loops = [(4, True), (30, True)]
    if sys.argv[2] == "1":
        loops += [(1, False), (130, False), (590, True)]
    for life_s, in_safe_mode in loops:
        closings, lit = an_hour_of_crashes(life_s, in_safe_mode)
        text = "  a crash after %d s%s: %d closings in an hour, lit %.1f %% of it"
        print(text % (life_s, "" if in_safe_mode else ", not in safe mode", closings, 100 * lit))
        assert closings <= 16 and lit > 0.9, (closings, lit)


def an_hour_of_crashes(life_s, in_safe_mode):
    """(closings, share of the time with one contact closed)."""
    house.cause = machine.PWRON_RESET
    app_module.App().counters.settle()
    run(closes)
    house.fall()
    house.cause = machine.HARD_RESET
    real = app_module.App._every_two_seconds

    def broken(self, now):
        real(self, now)
        if now > life_s * 1000 and (in_safe_mode or not self.safe_mode):
            raise RuntimeError("broken")

    app_module.App._every_two_seconds = broken
    start = machine.mono_us()
    house.closings = house.lit_us = 0
    try:
        while machine.mono_us() - start < 3600000000:
            asyncio.new_event_loop()
            try:
                app_module.main()
                raise AssertionError
            except machine.ResetError:
                house.fall()
            time.jump(3000)  # until main.py runs
    finally:
        app_module.App._every_two_seconds = real
    house.fall()
    share = house.lit_us / (machine.mono_us() - start)
    house.cause = machine.PWRON_RESET
    app_module.App().counters.settle()
    return house.closings, share


def a_crash_is_recorded_and_resets():
    resets = house.resets
    real = app_module.App._housekeeping

    async def broken(self):
        await asyncio.sleep_ms(200)
        raise MemoryError("exhausted")

    app_module.App._housekeeping = broken
    asyncio.new_event_loop()
    try:
        app_module.main()
        raise AssertionError
    except machine.ResetError:
        pass
    finally:
        app_module.App._housekeeping = real
    assert house.resets == resets + 1
    with open("/log/crash.txt") as f:
        assert "exhausted" in f.read()


def a_person_at_the_console():
    real = app_module.App._housekeeping

    async def interrupted(self):
        while self.selector.state != names.STATE_CLOSED:
            await asyncio.sleep_ms(50)
        raise KeyboardInterrupt

    app_module.App._housekeeping = interrupted
    resets = house.resets
    asyncio.new_event_loop()
    try:
        app_module.main()
        raise AssertionError
    except KeyboardInterrupt:
        pass
    finally:
        app_module.App._housekeeping = real
    assert house.resets == resets
    assert sum(house.level.get(p, 0) for p in (18, 19, 23)) == 0, "contacts left driven"


def a_missing_board_file_is_a_crash():
    os.rename("/board.json", "/kept.json")
    resets = house.resets
    asyncio.new_event_loop()
    try:
        app_module.main()
        raise AssertionError
    except machine.ResetError:
        pass
    assert house.resets == resets + 1
    os.rename("/kept.json", "/board.json")
