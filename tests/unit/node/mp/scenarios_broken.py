"""Parts of a node that are missing, fail or tell nonsense. Run by mp_faults.py."""

import asyncio
import os

import machine
from whole import app_module, codes, house, opener, poll, run

from pbal_protocol import names


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
