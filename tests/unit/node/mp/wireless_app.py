"""The application behind a radio or a network, under the heap limit and in virtual time.

argv: boards folder, folder of the flash, "run" (or "share": what this test takes of the heap and
nothing else), folder of the compiled modules, board, then the keys of the frames up, down and of
the group (hex). The modules are at /lib, as on a chip: their paths are on the heap.
/cfg/identity.json says whether the node is on LoRa or on a network. It is given its time, joins,
is read in rounds of slots or polls, answers for its state, and closes its contact. On LoRa the
group's key changes, and beacons come under the next one; at the end its counters are used up.
Prints one JSON line with what was measured before that.
"""

import asyncio
import gc
import json
import sys

import vfs

vfs.mount(vfs.VfsPosix(sys.argv[4]), "/lib")
sys.path[:] = [".frozen", "/lib", sys.path[-1]]

from pbal_protocol import frames, records  # noqa: E402

gc.collect()
# asyncio, json and what the hub below takes of the protocol: a node has them, too.
before = gc.mem_alloc()
import time  # noqa: E402

import clockwork  # noqa: E402, F401
import micropython  # noqa: E402
import network  # noqa: E402
import socket  # noqa: E402

import machine  # noqa: E402
import support  # noqa: E402

SITE, ADDRESS = 3, 0x0105
ROUNDS = 60
# Registers of the chip, by the data sheet.
_FIFO, _MODE, _IRQ, _DIO, _PACKETS, _HOP, _SIZE = 0, 1, 0x12, 0x40, 0x17, 0x1C, 0x13
_SLEEPS, _SENDS, _LISTENS = 0x80, 0x83, 0x85
_AIR_US = 90000


class Chip:
    """An SX1276 as far as a driver needs it: registers, one FIFO, and frames in and out."""

    def __init__(self):
        self.fifo = bytearray(256)
        self.heard = bytearray(256)
        self.size = 0
        self.dio = None
        self.reset()

    def reset(self):
        self.regs = bytearray(128)
        self.regs[0x42] = 0x12
        self.at = -1
        self.pointer = 0
        self.due_us = 0

    def write(self, data):
        for byte in data:
            self.byte(byte)

    def readinto(self, buf):
        for i in range(len(buf)):
            buf[i] = self.byte(0)

    def write_readinto(self, out, buf):
        for i in range(len(out)):
            buf[i] = self.byte(out[i])

    def byte(self, value):
        at = self.at
        if at < 0:
            self.at = value
            return 0
        address = at & 0x7F
        if address == _FIFO:
            was = self.fifo[self.pointer]
            if at & 0x80:
                self.fifo[self.pointer] = value
            self.pointer = self.pointer + 1 & 0xFF
            return was
        self.sent()
        if at & 0x80:
            if address == _IRQ:
                self.regs[_IRQ] &= ~value
            else:
                self.regs[address] = value
            if address == 0x0D:
                self.pointer = value
            elif address == _MODE and value == _SENDS:
                self.due_us = time.mono_us() + _AIR_US
        value = self.regs[address]
        self.at += 1
        return value

    def sent(self):
        """The frame that is on the air has ended."""
        if self.due_us and time.mono_us() >= self.due_us:
            self.due_us = 0
            self.size = self.regs[0x22]
            self.heard[:] = self.fifo
            self.regs[_MODE] = 0x81
            self.regs[_IRQ] |= 0x08

    def hear(self, data):
        """A frame arrives, if the node listens."""
        if self.regs[_MODE] != _LISTENS:
            return
        self.fifo[: len(data)] = data
        regs = self.regs
        regs[0x10] = 0
        regs[_SIZE] = len(data)
        regs[_PACKETS] = regs[_PACKETS] + 1 & 0xFF
        regs[_HOP] = 0x40
        regs[0x19], regs[0x1A] = 32, 90
        regs[_IRQ] |= 0x50
        if self.dio:
            self.dio(None)


chip = Chip()


class Pin(machine.Pin):
    """Chip select, reset and DIO0 are the chip's, all others the house's."""

    IRQ_RISING = 1

    def __call__(self, level):
        if self.number == wired["cs"]:
            chip.at = -1
        elif not level:
            chip.reset()

    def irq(self, handler=None, trigger=0):
        chip.dio = handler


class Radio:
    """The hub over LoRa: a beacon with one slot, then an exchange."""

    def __init__(self):
        self.round = 0

    def ready(self):
        return True

    async def ask(self, *items):
        """A round with an exchange; how often the node answered."""
        self.round += 1
        wire = sealed[0]
        answers = await self.say(wire.seal(wire.last + 1, self.beacon()), 700)
        body = b"".join([x if type(x) is bytes else x.encode() for x in items]) or STATUS.encode()
        return answers + await self.say(sealed[1].seal(sealed[1].last + 1, body), 900)

    def beacon(self):
        now_ms = time.mono_us() // 1000 - began_ms
        return records.RECORDS[42](
            time_s=T0 + now_ms // 1000, time_ms=now_ms % 1000, round=self.round, map_version=9,
            repair=0, shape=b"\x01\0\0\0\0\0\x18\x27", heard=b"\x01",
        ).encode()  # fmt: skip

    async def say(self, frame, ms):
        """A frame, and 1 if the node answers it within `ms`."""
        chip.size = 0
        chip.hear(frame)
        answers = 0
        for _ in range(ms):
            await asyncio.sleep_ms(1)
            chip.sent()
            if chip.size:
                records.decode_all(opener.open(bytes(chip.heard[: chip.size])), "up")
                chip.size = 0
                answers += 1
        return min(answers, 1)


class Network:
    """The controller over UDP: a poll."""

    def ready(self):
        network.made[0].reach = {"mill lane"}
        return socket.made and socket.made[-1].to

    async def ask(self, *items):
        sock = socket.made[-1]
        del sock.sent[:]
        body = b"".join([item.encode() for item in items])
        if body:
            body = sealed[1].seal(sealed[1].last + 1, body)
        head = bytes((0xA1, ADDRESS & 0xFF, ADDRESS >> 8, 0, len(body)))
        sock.inbox.append(head + body)
        for _ in range(400):
            await asyncio.sleep_ms(1)
            if sock.sent:
                records.decode_all(opener.open(sock.sent[0][0][5:]), "up")
                break
        count = len(sock.sent)
        del sock.sent[:]
        await asyncio.sleep_ms(250)
        return count


support.host_folder(sys.argv[2])
sys.path[:] = [".frozen", "/lib"]
sys.modules["pbal_protocol"].__path__ = "/lib/pbal_protocol"
support.install_board(sys.argv[5], return_spread_ms=0)
UP, DOWN, GROUP = [bytes.fromhex(key) for key in sys.argv[6:9]]
T0 = 1800000000
began_ms = time.mono_us() // 1000
sealed = [
    frames.Sealer(GROUP, frames.GROUP, SITE, 0, 0x80000000),
    frames.Sealer(DOWN, frames.DOWN, SITE, ADDRESS),
    frames.Sealer(DOWN, frames.GROUP, SITE, 0, 0x80000000),
]
# In which round the node is told which key of the group. Two before one is used: beacons come under
# the first of all until then.
next_keys = {
    n: records.GroupKey(generation=n, challenge=n, group_key=key).encode()
    for n, key in ((12, UP), (16, DOWN))
}
opener = frames.Opener(UP, frames.UP, SITE, ADDRESS)
STATUS = records.StatusGet(what=3)
with open("/board.json") as f:
    board = json.load(f)
with open("/cfg/identity.json") as f:
    over_lora = "radio" in json.load(f)
wired = board["radio"] if over_lora else {}
house = machine.house
house.coils = {}
machine.Pin = Pin
machine.SPI = lambda *args, **how: chip
names = ("vout", "va", "vb", "vc", "ct")
sense = board["sense"]
machine.ADC._CH = {sense[name]: i for i, name in enumerate(names) if name in sense}
house.volts.append(20.0)  # a load, as the current transformer shows it
selector = board["selector"]
if selector["kind"] != "latching":
    house.coils = {selector[name]: i + 1 for i, name in enumerate("abc")}
hub = Radio() if over_lora else Network()
del board, selector, sense, f

ours = support.own_share(before, sys.argv[3])
from pbal_node import app as app_module  # noqa: E402


async def main():
    app = app_module.App()
    gc.collect()
    built = gc.mem_alloc() - ours
    task = asyncio.create_task(app.run())
    for _ in range(400):
        await asyncio.sleep_ms(100)
        if hub.ready():
            break
    answers = 0
    live = []
    for n in range(ROUNDS):
        items = ()
        if n % 4 == 1:
            items = (records.StatusGet(what=1 + n // 4 % 4),)
        elif n % 4 == 2 and not app.clock.synced:
            now_ms = time.mono_us() // 1000 - began_ms
            items = (
                records.TimeSync(
                    time_s=T0 + now_ms // 1000, time_ms=now_ms % 1000, nonce=app.clock.nonce
                ),
            )
        elif over_lora and n % 4 == 3:
            items = (records.RECORDS[43](map_version=9, slot=0, begin_us=0, sf=7),)
        elif over_lora and n in next_keys:
            items = (next_keys[n],)
        elif n == 24:
            sealed[0] = sealed[2]
        answers += await hub.ask(*items)
        if n % 10 == 9:
            gc.collect()
            live.append(gc.mem_alloc() - ours)
        assert not task.done()
    bearer = app.bearers[0]
    micropython.qstr_info()
    print(
        json.dumps(
            {
                "answers": answers,
                "built": built,
                "live": live,
                "ours": ours,
                "total": gc.mem_alloc() + gc.mem_free() - ours,
                "heap_used_max": app.report.heap_used_max - ours,
                "phase": app.report.phase(),
                "synced": app.clock.synced,
                "bearer": type(bearer).__name__,
                "bearers": len(app.bearers),
            }
        )
    )
    if over_lora:
        import counters_end  # what it takes of the heap is not measured

        await counters_end.played(app, hub, opener)
    assert not task.done()
    print("ok")


asyncio.run(main())
