"""A node without an identity: found by its EUI, placed, made to blink; nothing else is offered."""

import asyncio
import sys

import machine
import support

from pbal_protocol import discovery, modbus, modbus_client

support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=0)

from pbal_node import app as app_module  # noqa: E402

house = machine.house
LED = 2


async def say(uart, pdu, unit=0, wait_ms=80):
    uart.tx = b""
    uart.rx += modbus_client.adu(unit, pdu)
    for _ in range(wait_ms // 4):
        await asyncio.sleep_ms(4)
        if uart.tx and uart.txdone():
            break
    return uart.tx


def answer(op, eui, unit):
    buf = bytearray(32)
    return bytes(buf[: discovery.answer_into(buf, op, eui, unit)])


async def scenario(app):
    uart = machine.UART.made[2]
    uid = machine.unique_id()
    eui = uid[:3] + b"\xff\xfe" + uid[3:6]
    # There from the start: a heap that worked for days may have no room for it any more.
    assert "pbal_node.discovery" in sys.modules
    assert "pbal_node.link" not in sys.modules, "a node without keys has no link"
    everyone = bytes(8)
    here = answer(discovery.OP_FIND, eui, 247)
    assert await say(uart, discovery.find_pdu(0, everyone)) == here
    # Every prefix of its own, and none that differs in any one bit.
    for bits in (1, 7, 8, 9, 40, 63, 64):
        assert await say(uart, discovery.find_pdu(bits, eui)) == here, bits
        wrong = bytearray(eui)
        wrong[(bits - 1) >> 3] ^= 1 << (7 - (bits - 1) % 8)
        assert await say(uart, discovery.find_pdu(bits, bytes(wrong))) == b"", bits
    # What follows the prefix is not looked at.
    assert await say(uart, discovery.find_pdu(8, eui[:1] + b"\xaa" * 7)) == here
    # Nonsense is met with silence.
    for pdu in (
        b"\x64\x02\x01\x00",
        discovery.find_pdu(65, eui),
        b"\x64\x07\x09" + eui + b"\x05",
        discovery.place_pdu(eui, 0),
        discovery.place_pdu(eui, 248),
        discovery.place_pdu(bytes(8), 5),
        modbus_client.request_pdu(modbus.OP_GROUP, bytes(20)),
    ):
        assert await say(uart, pdu) == b"", pdu
    # Placed: answers at its unit with the plain registers, searches pass it by.
    assert await say(uart, discovery.place_pdu(eui, 200)) == answer(discovery.OP_PLACE, eui, 200)
    assert (await say(uart, b"\x04\x00\x00\x00\x0c", 200))[:3] == b"\xc8\x04\x18"
    assert await say(uart, b"\x04\x00\x00\x00\x0c", 247) == b""
    assert await say(uart, discovery.find_pdu(0, everyone)) == b""
    # No keys: nothing can be ordered, sealed or not.
    assert (await say(uart, modbus_client.request_pdu(0, bytes(60)), 200))[1] == 0xE4
    # A new search takes everybody back.
    assert await say(uart, discovery.find_pdu(0, everyone, True)) == here
    assert (await say(uart, b"\x04\x00\x00\x00\x0c", 247))[:3] == b"\xf7\x04\x18"
    # It blinks as long as it was told, then the LED is the application's again.
    assert await say(uart, discovery.blink_pdu(eui, 1)) == answer(discovery.OP_BLINK, eui, 247)
    seen = []
    for _ in range(60):
        await asyncio.sleep_ms(10)
        if not seen or seen[-1] != house.level[LED]:
            seen.append(house.level[LED])
    assert len(seen) >= 4, seen
    assert app.finder.blinking
    await asyncio.sleep_ms(900)
    assert not app.finder.blinking


async def main():
    app = app_module.App()
    task = asyncio.create_task(app.run())
    await asyncio.sleep_ms(300)
    await scenario(app)
    assert not task.done()
    print("ok")


asyncio.run(main())
