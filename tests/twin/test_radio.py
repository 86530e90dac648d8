"""Nodes with a radio in the twin: the driver on the simulated ESP32's SPI, in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from pbal_build import build_files
from pbal_sim.radio import Sx1276
from pbal_sim.radio import registers as r
from pbal_sim.street import Street, StreetConfig

pytestmark = pytest.mark.twin

MAIN = """
import json, machine, time
from pbal_node.radio import sx127x

machine.WDT(timeout=60000)
b = json.load(open("/board.json"))["radio"]
Pin = machine.Pin
spi = machine.SPI(
    1, baudrate=5000000, sck=Pin(b["sck"]), mosi=Pin(b["mosi"]), miso=Pin(b["miso"])
)
dio0 = Pin(b["dio0"], Pin.IN)
radio = sx127x.SX127x(spi, Pin(b["cs"], Pin.OUT, value=1), Pin(b["reset"], Pin.OUT, value=1))
radio.begin(868100000, power_dbm=14)
radio.listen()
print("listens")
while True:
    # Looks at nothing but the line until it rises.
    found = radio.poll() if dio0.value() else 0
    if found == sx127x.HEARD:
        print("heard", radio.length, radio.rssi_dbm)
        time.sleep_ms(100)  # the other end turns to listening
        radio.buf[radio.length] = 0x21
        radio.send(radio.length + 1)
    elif found == sx127x.SENT:
        radio.listen()
        print("sound" if radio.check() else "unsound")
    time.sleep_ms(2)
"""


async def until(what: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_a_node_answers_over_the_air() -> None:
    files = build_files("lilygo-t3") | {"/main.py": MAIN.encode()}
    async with Street(StreetConfig(homes=1, board="lilygo-t3", files=files)) as street:
        home = street.homes[0]
        await until(lambda: "listens" in home.chip.log())
        hub = Sx1276(street.air, "hub")

        def put(register: int, *values: int) -> None:
            hub.exchange(bytes([register | 0x80, *values]))

        def get(register: int) -> int:
            return hub.exchange(bytes([register, 0]))[1]

        for mode in (0x00, 0x80, 0x81):
            put(r.OP_MODE, mode)
        put(r.FRF_MSB, 0xD9, 0x06, 0x66)
        put(r.PA_CONFIG, 0xFF)
        put(r.FIFO_TX_BASE_ADDR, 0, 0)
        put(r.MODEM_CONFIG1, 0x72, 0x74)
        put(r.MODEM_CONFIG3, 0x04)
        questions = (b"who is there", b"a longer question, of more than thirty-two bytes")
        for number, text in enumerate(questions, 1):
            put(r.OP_MODE, 0x81)
            put(r.FIFO_ADDR_PTR, 0)
            put(r.FIFO, *text)
            put(r.PAYLOAD_LENGTH, len(text))
            put(r.OP_MODE, 0x83)
            await until(lambda: get(r.IRQ_FLAGS) & r.TX_DONE)
            put(r.IRQ_FLAGS, 0xFF)
            put(r.OP_MODE, 0x85)
            await until(lambda: get(r.IRQ_FLAGS) & r.RX_DONE)
            put(r.FIFO_ADDR_PTR, get(r.FIFO_RX_CURRENT_ADDR))
            count = get(r.RX_NB_BYTES)
            answer = hub.exchange(bytes([r.FIFO, *bytes(count)]))[1:]
            assert answer == text + b"!"
            # The node listens again before the next question begins.
            await until(lambda n=number: home.chip.log().count("sound") == n)
        assert "unsound" not in home.chip.log()
