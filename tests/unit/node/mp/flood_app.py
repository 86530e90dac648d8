"""The whole node at the chip's speed on a line that somebody floods. In virtual time.

argv: boards folder, kind of traffic, seconds of it, which rule is taken away ("" for none). While
the flood lasts transfers are ordered, and the phase sags so that the node leaves it by itself.
Prints one JSON line with what happened; asserts nothing by itself.
"""

import asyncio
import json
import sys
import time

import clockwork
import line as lines
import machine
import processor
import support
from machine import house

support.ram_disk()
support.install_board(
    "esp32-devkitc",
    return_spread_ms=0,
    dwell_s=60,
    daily_cap=48,
    autonomy_confirm_ms=1000,
    autonomy_spread_ms=1000,
)

SITE, ADDRESS, UNIT = 7, 0x0105, 5
ROOT, GROUP = bytes(range(32)), bytes(range(32, 64))
support.install_identity(SITE, ADDRESS, ROOT, GROUP, phase=1)

from pbal_node import app as app_module  # noqa: E402
from pbal_node import link  # noqa: E402
from pbal_node.bearers import ration, rs485  # noqa: E402
from pbal_protocol import frames, kdf, modbus, modbus_client, records  # noqa: E402

KIND = sys.argv[2]
SECONDS = int(sys.argv[3])
REMOVED = sys.argv[4] if len(sys.argv) > 4 else ""
T35_US = modbus.silence_us(115200)

STATE_CLOSED, STATE_LOCKOUT = 2, 8  # as in pbal_protocol.names, which a node does not load
chip = processor.Processor(time.sleep_us)
UP, DOWN = kdf.node_keys(ROOT, SITE, ADDRESS)


def adu(unit, pdu):
    return bytes(modbus_client.adu(unit, bytes(pdu)))


def request(unit, frame=b"", op=0):
    return adu(unit, modbus_client.request_pdu(op, frame))


def noise(n, seed=1):
    out = bytearray(n)
    for k in range(n):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        out[k] = seed >> 16 & 0xFF
    return bytes(out)


def endless(*blocks):
    """Back to back, without a pause."""
    data = b"".join(blocks)
    data *= 2000 // len(data) + 1

    def talk(line):
        while True:
            yield data

    return talk


def asking(*frames_, pause_us=T35_US, listen=True):
    """A master that waits for each answer."""

    def talk(line):
        while True:
            for frame in frames_:
                yield frame
                if listen:
                    yield lines.LISTEN
                yield pause_us

    return talk


class Segment:
    """60 homes polled in turn; this node's own poll is one of them."""

    def __init__(self):
        self.asked = 0
        self.answered = 0
        self.opener = frames.Opener(UP, frames.UP, SITE, ADDRESS)

    def __call__(self, line):
        others = [u for u in range(1, 61) if u != UNIT]
        answers = {u: adu(u, b"\x64\x00\x5a" + noise(90, u)) for u in others}
        requests = {u: request(u) for u in range(1, 61)}
        while True:
            for u in others:
                yield requests[u]
                yield 2500
                yield answers[u]
                yield T35_US
            self.asked += 1
            yield requests[UNIT]
            yield lines.LISTEN
            if self.good(line.answer):
                self.answered += 1
            yield T35_US

    def good(self, answer):
        if not answer:
            return False
        chip.pause()  # the controller's work
        pdu = modbus_client.split_adu(answer)[1]
        body = modbus_client.parse_pdu(pdu)[1]
        first = records.decode_all(self.opener.open(body), "up")[0]
        chip.resume()
        return first.NAME == "Telemetry"


def own_keys(line):
    """Whoever has this node's keys asks for all settings, many times in each frame."""
    sealer = frames.Sealer(DOWN, frames.DOWN, SITE, ADDRESS)
    asks = (records.ConfigGet(key=255).encode() * 20, records.StatusGet(what=4).encode() * 30)
    while True:
        for ask in asks:
            chip.pause()
            frame = request(UNIT, sealer.seal(sealer.last + 1, ask))
            chip.resume()
            yield frame
            yield lines.LISTEN
            yield T35_US


segment = Segment()
gframe = b"\x13\x00\x00" + noise(4) + noise(200)
dframe = b"\x12" + ADDRESS.to_bytes(2, "little") + b"\xff\xff\xff\x7f" + noise(40)
up_frame = b"\x11" + ADDRESS.to_bytes(2, "little") + noise(200)
KINDS = {
    "nothing": lambda line: iter(()),
    "segment": segment,
    "broadcasts": endless(request(0, b"", 7)),
    "shortest": endless(adu(0, b"\x07"), adu(0, b"\x11")),
    "others": endless(request(9), adu(9, b"\x64\x00\xc8" + up_frame[:200])),
    "others_short": endless(adu(9, b"\x07"), adu(9, b"\x07\x00")),
    "group": endless(request(0, gframe[:16], 1)),
    "group_long": endless(request(0, gframe[:200], 1)),
    "group_paced": asking(request(0, gframe[:16], 1), listen=False),
    "bad_tags": endless(request(UNIT, dframe)),
    "bad_tags_paced": asking(request(UNIT, dframe)),
    "polls_paced": asking(request(UNIT)),
    "stock": endless(adu(UNIT, b"\x04\x00\x00\x00\x0c")),
    "stock_paced": asking(adu(UNIT, b"\x04\x00\x00\x00\x0c")),
    "noise": endless(noise(4000)),
    "break": endless(bytes(100)),
    "ones": endless(b"\xff" * 100),
    "own_keys": own_keys,
}


def remove(rule):
    """Take one rule away, so that its test must fail."""
    bearer = rs485.Rs485
    if rule == "progress":
        # Alive only while there is nothing to read, and watched as the other loops are.
        app_module._WATCHED["bearer"] = 9000

        def alive(self, now_ms):
            if self._parked and not self._uart.any():
                self._report.measuring.watchdog.beat("bearer", now_ms)

        bearer.alive = alive
    elif rule == "ration":
        ration.Ration.left_us = lambda self: 1
    elif rule == "answers":
        # Every setting is looked at, however many wait to be told.
        def tell(self, key):
            config = self._settings.config
            for k in config.keys():
                self._answer_config(k, config.get(k), 0)

        link.Link._tell_config = tell
    elif rule == "budget":
        real = modbus.RtuServer.feed

        def feed(self, data, at, n):
            self.budget = 1000
            return real(self, data, at, n)

        modbus.RtuServer.feed = feed


class Witness:
    """Looks at the watchdog and the contacts at every instant that they change."""

    def __init__(self):
        self.moves = []  # (ms, pin, level)
        self.fed_us = time.mono_us()
        self.hunger_ms = 0
        self.counts = {}
        real = machine.Pin.value

        def value(pin, x=None):
            if x is not None and pin.number in house.coils and house.level.get(pin.number, 0) != x:
                self.moves.append((time.mono_us() // 1000, house.coils[pin.number], x))
            return real(pin, x)

        machine.Pin.value = value
        machine.WDT.feed = lambda _wdt: self.feed()

    def feed(self):
        now = time.mono_us()
        self.hunger_ms = max(self.hunger_ms, (now - self.fed_us) // 1000)
        self.fed_us = now
        house.fed += 1


async def transfer(app, number):
    """Order one as the controller does; (outcome, reason, milliseconds without power)."""
    now_s = app.clock.now_s()
    there = app.selector.phase
    app.selector.command(number, there, there % 3 + 1, now_s, now_s + 30, app.now_ms())
    app.wake_selector()
    for _ in range(300):
        await asyncio.sleep_ms(100)
        for r in app.selector.outbox:
            if r.command_id == number:
                app.selector.outbox.remove(r)
                return [r.outcome, r.reason, r.transfer_ms]
    return [0, app.selector.state, 0]


async def leave(app, number):
    """The phase sags: the node leaves it by itself. As `transfer` answers."""
    there = app.selector.phase
    kept = house.volts[there]
    house.volts[there] = 180.0
    result = [0, app.selector.state, 0]
    for _ in range(200):
        await asyncio.sleep_ms(100)
        if app.selector.phase not in (0, there) and app.selector.state == STATE_CLOSED:
            result = [2, 0, 0]
            break
    house.volts[there] = kept
    return result


async def main():
    clockwork.charge = chip.charge
    clockwork.step_us = processor.STEP_US
    witness = Witness()
    remove(REMOVED)
    app = app_module.App()
    chip.slow_down()
    time.look_costs(processor.LOOK_US)
    kind, _, each = KIND.partition("-")
    wire = lines.Line(machine.UART.made[2], full=1 if each else 120)
    chip.others_garbage = lambda: wire.garbage
    chip.after_collection = lambda: setattr(wire, "garbage", 0)
    task = asyncio.create_task(app.run())
    while app.selector.state != STATE_CLOSED:
        await asyncio.sleep_ms(100)
        assert not task.done()
    assert app.clock.set(1800000000, 0, app.clock.ask(7), True)
    await asyncio.sleep_ms(3000)
    witness.moves.clear()
    witness.fed_us = time.mono_us()
    app.report.loop_max_ms = 0
    meter = [app.meter.reading.at_ms, 0]
    ages = []
    transfers = []
    busy_us, collections = chip.busy_us, chip.collections
    start_ms = time.mono_us() // 1000
    wire.say(KINDS[kind])
    bites = 0
    number = 100
    end_ms = start_ms + 1000 * SECONDS
    next_ms = start_ms + 20000
    while time.mono_us() // 1000 < end_ms and not task.done():
        await asyncio.sleep_ms(250)
        now = app.now_ms()
        meter[1] = max(meter[1], now - app.meter.reading.at_ms)
        ages.append(now - app.sense.at_ms)
        if time.mono_us() - witness.fed_us > 15000000:
            bites += 1
            witness.feed()
        if time.mono_us() // 1000 >= next_ms:
            next_ms += max(75000, 1000 * SECONDS // 40)
            number += 1
            move = leave if number % 3 == 0 else transfer
            transfers.append(await move(app, number))
    flood_ms = time.mono_us() // 1000 - start_ms
    busy = (chip.busy_us - busy_us) / 1000 / flood_ms
    collections = (chip.collections - collections) * 1000 / flood_ms
    ended = task.done()
    # Somebody asks again, as soon as the line is quiet.
    wire.say(asking(request(UNIT), pause_us=100000))
    quiet_ms = time.mono_us() // 1000
    back_ms = -1
    while back_ms < 0 and time.mono_us() // 1000 < quiet_ms + 12000 and not task.done():
        await asyncio.sleep_ms(20)
        if wire.answer:
            back_ms = time.mono_us() // 1000 - quiet_ms
    offs = [m for m in witness.moves if not m[2]]
    ages.sort()
    print(
        json.dumps(
            {
                "kind": KIND,
                "bytes": wire.sent,
                "lost": wire.lost,
                "load": round(busy, 3),
                "collections_per_s": round(collections, 2),
                "bites": bites,
                "hunger_ms": witness.hunger_ms,
                "ended": ended,
                "opened": len(offs),
                "transfers": transfers,
                "locked_out": app.selector.state == STATE_LOCKOUT,
                "phase": app.report.phase(),
                "shorts": house.shorts,
                "back_ms": back_ms,
                "meter_ms": meter[1],
                "volts_ms": ages[-1] if ages else 0,
                "loop_max_ms": app.report.loop_max_ms,
                "asked": segment.asked,
                "answered": segment.answered,
                "collisions": wire.collisions,
                "served": app.bearers[0].answered,
                "late": app.bearers[0].late,
                "rationed": app.bearers[0].rationed,
                "reopened": app.bearers[0].reopened,
                "resets": house.resets,
            }
        )
    )
    print("ok")


asyncio.run(main())
