"""The whole application of a node on a fresh disk, and a scenario beside it.

Its import mounts the disk: before any import of the application.
"""

import asyncio

import machine
import support
from pbal_protocol import frames, modbus_client, records

kdf = support.own("pbal_protocol", "kdf")

ROOT = bytes(range(32))

support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=0)
support.install_identity(7, 0x0105, ROOT, ROOT, phase=2)

from pbal_node import app as app_module  # noqa: E402
from pbal_protocol import names  # noqa: E402

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


async def closes(app):
    while app.selector.state != names.STATE_CLOSED:
        await asyncio.sleep_ms(50)


def codes(app):
    return [(e[1], e[4]) for e in support.newest(app.log)]
