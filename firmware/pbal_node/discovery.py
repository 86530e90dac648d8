"""A node without an identity on the bus: found by its EUI, placed at a unit, seen to blink.

Loaded only by a node that has no keys: in service this module costs nothing. Whatever is asked
here changes one thing, the unit at which the plain registers answer, in memory only: a reset
forgets it. See pbal_protocol.discovery.
"""

import asyncio
import os
import time

import machine
from micropython import const

from pbal_protocol import discovery, modbus

_BLINK_MS = const(120)


def own_eui() -> bytes:
    """EUI-64 of the chip: its MAC address with ff fe in the middle, as `pbal provision` has it."""
    uid = machine.unique_id()
    return uid[:3] + b"\xff\xfe" + uid[3:6]


class Finder:
    """`decoder`: its unit is what PLACE changes; `led`: a pin, or None. While it blinks for
    a searcher, `blinking` is true.
    """

    def __init__(self, decoder, led, now_ms) -> None:
        self._decoder = decoder
        self._led = led
        self._now_ms = now_ms
        self.eui = own_eui()
        self.blinking = False
        self._until_ms = 0

    def take(self, buf, n: int, tx) -> int:
        """Act on the broadcast in buf[:n]; the length of the answer put into `tx`, 0 for none."""
        op = self._act(buf, n)
        if not op:
            return 0
        return discovery.answer_into(tx, op, self.eui, self._decoder.unit)

    def _act(self, buf, n: int) -> int:
        """Do what is asked; the op to answer, 0 for silence."""
        op = buf[2]
        body = bytes(memoryview(buf)[4 : n - 2])
        rx = self._decoder
        if op == discovery.OP_FIND and len(body) == 10:
            if body[0] & discovery.FLAG_RESTART:
                rx.unit = modbus.UNPROVISIONED
            bits = body[1]
            if (
                rx.unit != modbus.UNPROVISIONED
                or bits > 64
                or not discovery.matches(self.eui, bits, body[2:])
            ):
                return 0
            # Nodes that share the prefix draw a slot; one that hears another begin stays silent.
            time.sleep_us(discovery.SLOT_US * (os.urandom(1)[0] % discovery.SLOTS))
            return op
        if len(body) != 9 or body[:8] != self.eui:
            return 0
        if op == discovery.OP_PLACE and discovery.legal_unit(body[8]):
            rx.unit = body[8]
            return op
        if op == discovery.OP_BLINK:
            self._blink(body[8])
            return op
        return 0

    def _blink(self, seconds: int) -> None:
        self._until_ms = self._now_ms() + 1000 * seconds
        if self._led is not None and seconds and not self.blinking:
            self.blinking = True
            asyncio.create_task(self._blink_until())

    async def _blink_until(self) -> None:
        level = 1
        while self._now_ms() < self._until_ms:
            self._led.value(level)
            level ^= 1
            await asyncio.sleep_ms(_BLINK_MS)
        self._led.value(0)
        self.blinking = False
