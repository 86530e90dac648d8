"""Crashes, safe mode, garbage on the line, a stuck loop, a person at the console.

argv: boards folder; 1 for all the crash loops, else the quick ones alone.
"""

import asyncio
import os
import sys
import time

import machine
import support
from pbal_protocol import frames, modbus_client, names, records

kdf = support.own("pbal_protocol", "kdf")

ROOT = bytes(range(32))

support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=0)
support.install_identity(7, 0x0105, ROOT, ROOT, phase=2)

from pbal_node import app as app_module  # noqa: E402
from pbal_node import shutdown, journal, store  # noqa: E402
from pbal_node.measuring import Measuring  # noqa: E402

house = machine.house


def opener():
    return frames.Opener(kdf.node_keys(ROOT, 7, 0x0105)[0], frames.UP, 7, 0x0105)


async def poll(open_up):
    uart = machine.UART.made[2]
    uart.tx = b""
    uart.rx += modbus_client.adu(5, modbus_client.request_pdu(0))
    for _ in range(60):
        await asyncio.sleep_ms(5)
        if uart.tx:
            _unit, pdu = modbus_client.split_adu(uart.tx)
            return records.decode_all(open_up.open(modbus_client.parse_pdu(pdu)[1]), "up")[0]
    return None


def run(scenario, seconds=20):
    """Run the scenario beside a fresh application; the application must outlive it."""

    async def both():
        app = app_module.App()
        task = asyncio.create_task(app.run())
        try:
            await asyncio.wait_for(scenario(app), seconds)
            assert not task.done()
        finally:
            task.cancel()

    asyncio.new_event_loop()
    asyncio.run(both())


def garbage_on_both_uarts():
    async def scenario(app):
        up = opener()
        while app.selector.state != names.STATE_CLOSED:
            await asyncio.sleep_ms(50)
        seed = 1
        for _ in range(150):
            junk = bytearray(97)
            for k in range(len(junk)):
                seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
                junk[k] = seed >> 16 & 0xFF
            machine.UART.made[2].rx += junk
            machine.UART.made[1].rx += junk[:20]
            await asyncio.sleep_ms(2)
        await asyncio.sleep_ms(50)
        t = None
        for _ in range(5):
            t = t or await poll(up)
        assert t is not None and t.phase == 2
        assert house.shorts == 0 and not house.level.get(4)

    run(scenario)


def a_silence_of_minutes_ends_a_frame():
    """The chip's ticks_us wraps every 18 minutes: half of them look like the past."""

    async def scenario(app):
        up = opener()
        assert await poll(up)
        for minutes in (1, 5, 10, 13, 17, 30):
            # The beginning of a frame for us, and then nobody for a while.
            machine.UART.made[2].rx += modbus_client.adu(
                5, modbus_client.request_pdu(0, bytes(60))
            )[:20]
            await asyncio.sleep_ms(20)
            time.jump(60000 * minutes)
            assert await poll(up), minutes

    run(scenario, 7200)


def fails(method="_housekeeping", error=None, when=None, of=app_module.App):
    """main() with a method of the application that fails; must end in a reset of the chip."""
    real = getattr(of, method)

    async def broken(self):
        await asyncio.sleep_ms(20)
        while when and not when(self):
            await asyncio.sleep_ms(20)
        raise error or RuntimeError("broken")

    resets = house.resets
    setattr(of, method, broken)
    asyncio.new_event_loop()
    try:
        app_module.main()
        raise AssertionError("main() came back")
    except machine.ResetError:
        pass
    finally:
        setattr(of, method, real)
    assert house.resets == resets + 1


def codes(app):
    return [(e[1], e[4]) for e in support.newest(app.log)]


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


async def closes(app):
    while app.selector.state != names.STATE_CLOSED:
        await asyncio.sleep_ms(50)


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


def closings_into_a_high_current_are_counted():
    for count in (1, 2):

        async def scenario(app, count=count):
            while app.selector.state != names.STATE_CLOSED:
                await asyncio.sleep_ms(50)
            await asyncio.sleep_ms(3000)
            assert app.state_store.inrushes == count
            assert (names.EVENT_INRUSH, count) in codes(app)

        house.amps = 60.0
        run(scenario)
        house.amps = 3.0
    assert journal.SelectorState("/cfg/selector", store.FlashStats()).inrushes == 2


def silent(app):
    """Nothing was closed and nothing will be."""
    for pin in (18, 19, 23):
        assert not house.level.get(pin)
    assert app.report.phase() == 0 and app.selector.state == names.STATE_OPEN, app.selector.state
    app.clock.set(1000, 0, app.clock.nonce, True)
    r = app.selector.command(77, 0, 1, 1000, 1060, app.now_ms())
    assert r.outcome == 3, r.outcome


def a_board_without_a_converter_never_switches():
    house.cause = machine.PWRON_RESET

    async def scenario(app):
        with open("/log/missing.txt") as f:
            assert "adc vout" in f.read()
        up = opener()
        await asyncio.sleep_ms(8500)
        t = await poll(up)
        assert t.flags & names.FLAG_SENSE_FAULT, hex(t.flags)
        assert names.EVENT_SENSE_FAULT in [code for code, _ in codes(app)]
        silent(app)

    house.broken_adc = True
    run(scenario)
    house.broken_adc = False
    app_module.App()
    assert "missing.txt" not in os.listdir("/log")


def a_converter_that_fails_never_switches():
    async def scenario(app):
        up = opener()
        await asyncio.sleep_ms(8500)
        t = await poll(up)
        assert t.flags & names.FLAG_SENSE_FAULT, hex(t.flags)
        assert (names.EVENT_SENSE_FAULT, -15) in codes(app)
        silent(app)
        house.failing_adc = False  # it works again: so does the home
        for _ in range(150):
            await asyncio.sleep_ms(100)
            if app.selector.state == names.STATE_CLOSED:
                break
        assert app.selector.state == names.STATE_CLOSED and not app.measuring.sense_fault()

    house.failing_adc = True
    try:
        run(scenario, 40)
    finally:
        house.failing_adc = False


def sensors_that_hang_at_a_rail_are_reported():
    async def scenario(app):
        up = opener()
        await asyncio.sleep_ms(9000)
        t = await poll(up)
        assert t.flags & names.FLAG_SENSE_FAULT, hex(t.flags)
        assert (names.EVENT_SENSE_FAULT, -2) in codes(app) and t.vb_v == 0
        assert (names.EVENT_SENSE_FAULT, 0) in codes(app)
        silent(app)

    house.rails = {0: 0, 2: 3100000}  # the output's and phase B's
    try:
        run(scenario)
    finally:
        house.rails = {}


def a_board_without_ports_reports_and_lives():
    async def scenario(app):
        with open("/log/missing.txt") as f:
            assert f.read() == "meter's port\nrs485's port"
        fed = house.fed
        for _ in range(150):
            await asyncio.sleep_ms(100)
            if app.selector.state == names.STATE_CLOSED:
                break
        assert app.selector.state == names.STATE_CLOSED  # sensing works: the home has its power
        await asyncio.sleep_ms(4500)
        assert app.report.flags() & names.FLAG_METER_FAULT and app.measuring.current() < 0
        assert names.EVENT_METER_FAULT in [code for code, _ in codes(app)]
        assert house.fed > fed

    house.broken_uarts = (1, 2)
    try:
        run(scenario, 40)
    finally:
        house.broken_uarts = ()


def a_meter_that_starts_with_the_output_is_no_fault():
    async def scenario(app):
        def faults():
            return sum(code == names.EVENT_METER_FAULT for code, _ in codes(app)) - before

        before = 0
        before = faults()  # of the scenarios before this one
        while app.selector.state != names.STATE_CLOSED:
            await asyncio.sleep_ms(50)
        assert app.now_ms() > 4000, "no longer since the start than a meter may be silent"
        await asyncio.sleep_ms(2000)
        house.meter_silent = False  # it lives off the line that it measures, and has started
        await asyncio.sleep_ms(3000)
        assert not faults() and app.measuring.current() > 0
        house.meter_silent = True
        await asyncio.sleep_ms(3000)
        assert not faults()
        await asyncio.sleep_ms(3000)
        assert faults() == 1 and app.report.flags() & names.FLAG_METER_FAULT

    house.meter_silent = True
    try:
        run(scenario, 40)
    finally:
        house.meter_silent = False


def a_meter_that_tells_nonsense_is_a_broken_meter():
    async def scenario(app):
        up = opener()
        while app.selector.state != names.STATE_CLOSED or app.measuring.current() <= 0:
            await asyncio.sleep_ms(50)
        for amps, hz in ((2000.0, 50.0), (3.0, 6000.0), (30000.0, 0.0)):
            house.amps, house.meter_hz = amps, hz
            await asyncio.sleep_ms(1500)
            t = await poll(up)
            assert t is not None and t.current_a == 0 and t.phase == 2, t
        await asyncio.sleep_ms(4500)
        assert app.report.flags() & names.FLAG_METER_FAULT and app.measuring.current() < 0
        house.amps, house.meter_hz = 3.0, 50.0
        await asyncio.sleep_ms(1500)
        assert not app.report.flags() & names.FLAG_METER_FAULT and app.measuring.current() == 3.0

    try:
        run(scenario, 40)
    finally:
        house.amps, house.meter_hz = 3.0, 50.0


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


def a_stuck_meter_loop_starves_the_watchdog():
    async def scenario(app):
        async def stuck():
            await asyncio.sleep(100)

        app.meter.read = stuck
        await asyncio.sleep_ms(10500)
        fed = house.fed
        await asyncio.sleep_ms(2500)
        assert house.fed == fed, "fed although metering made no progress"
        w = app.watchdog
        assert w._ages[w._names.index("metering")] > 6000

    run(scenario, 30)


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


support.run(
    (
        garbage_on_both_uarts,
        a_silence_of_minutes_ends_a_frame,
        safe_mode_after_repeated_crashes,
        crashes_count_whatever_the_chip_says_of_its_reset,
        what_a_person_does_is_no_crash,
        safe_mode_survives_the_part_that_crashes,
        not_even_safe_mode_runs,
        a_crash_loop_chatters_no_contact,
        closings_into_a_high_current_are_counted,
        a_board_without_a_converter_never_switches,
        a_converter_that_fails_never_switches,
        sensors_that_hang_at_a_rail_are_reported,
        a_board_without_ports_reports_and_lives,
        a_meter_that_starts_with_the_output_is_no_fault,
        a_meter_that_tells_nonsense_is_a_broken_meter,
        a_crash_is_recorded_and_resets,
        a_person_at_the_console,
        a_stuck_meter_loop_starves_the_watchdog,
        a_missing_board_file_is_a_crash,
    )
)
