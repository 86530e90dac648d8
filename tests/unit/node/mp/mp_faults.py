"""Crashes, safe mode, garbage on the line, a stuck loop, a person at the console."""

import asyncio
import json
import os

import machine
import support
from pbal_protocol import frames, kdf, modbus, records

ROOT = bytes(range(32))

support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=0)
support.write_file(
    "/cfg/identity.json",
    json.dumps(
        {
            "eui": "0011223344556677",
            "site": 7,
            "address": 0x0105,
            "root": ROOT.hex(),
            "group": ROOT.hex(),
            "phase": 2,
        }
    ),
)

from pbal_node import app as app_module  # noqa: E402
from pbal_node import selector as sel  # noqa: E402

house = machine.house


def opener():
    return frames.Opener(kdf.node_keys(ROOT, 7, 0x0105)[0], frames.UP, 7, 0x0105)


async def poll(open_up):
    uart = machine.UART.made[2]
    uart.tx = b""
    uart.rx += modbus.adu(5, modbus.request_pdu(0))
    for _ in range(60):
        await asyncio.sleep_ms(5)
        if uart.tx:
            _unit, pdu = modbus.split_adu(uart.tx)
            return records.decode_all(open_up.open(modbus.parse_pdu(pdu)[1]), "up")[0]
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
        while app.selector.state != sel.CLOSED:
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


def safe_mode_after_repeated_crashes():
    house.cause = machine.SOFT_RESET
    for n in range(1, 4):
        assert not app_module.App().safe_mode, n

    async def scenario(app):
        assert app.safe_mode
        up = opener()
        for pin in (18, 19, 23):
            house.level[pin] = 0
        moved = dict(house.changed_us)
        t = await poll(up)
        assert t.flags & records.FLAG_SAFE_MODE and t.state == 9 and t.phase == 0
        await asyncio.sleep_ms(7500)
        t = await poll(up)
        assert t is not None and house.changed_us.get(19) == moved.get(19)
        assert app.selector.command(1, 0, 2, 0, 9, app.now_ms()).reason in (9, 13)
        app.clock.set(1000, 0, app.clock.nonce, True)
        assert app.selector.command(2, 0, 2, 1000, 1060, app.now_ms()).reason == 13

    run(scenario)
    house.cause = machine.PWRON_RESET
    assert not app_module.App().safe_mode  # the power was away: a new start


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
        while self.selector.state != sel.CLOSED:
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
        assert w._ages[w._names.index("metering")] > 6000 and w.late(app.now_ms())

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
        safe_mode_after_repeated_crashes,
        a_crash_is_recorded_and_resets,
        a_person_at_the_console,
        a_stuck_meter_loop_starves_the_watchdog,
        a_missing_board_file_is_a_crash,
    )
)
