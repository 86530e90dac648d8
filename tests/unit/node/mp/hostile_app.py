"""The whole node under hostile frames with authentic seals, in virtual time.

argv: boards folder, how many frames, seed. After each batch the node must be alive, answer, stand
where it stood, know the time within its band, and hold no more memory than before. Prints one JSON
line of counts, so that a run that did nothing shows.
"""

import asyncio
import gc
import json
import random
import sys
import time

import machine
import support
from machine import house

FRAMES, SEED = int(sys.argv[2]), int(sys.argv[3])
random.seed(SEED)
support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=500, dwell_s=1, daily_cap=200)
SITE, ADDRESS = 7, 0x0105
ROOT, GROUP = bytes(range(32)), bytes(range(32, 64))
support.install_identity(SITE, ADDRESS, ROOT, GROUP, phase=1, release=bytes(range(32)).hex())

import hostile  # noqa: E402

from pbal_node import app as app_module  # noqa: E402
from pbal_protocol import frames, modbus_client, records  # noqa: E402

T0 = 1800000000
BATCH = 500
GROWTH = 6144  # queues, the log and caches of the interpreter are full by the tenth batch
FLOOD = 12288  # what may wait to be told, at most
_start_us = time.mono_us()


def true_ms():
    return T0 * 1000 + (time.mono_us() - _start_us) // 1000


def seconds():
    return true_ms() // 1000


class Player:
    """The other end of the line, and the witness."""

    def __init__(self, app, author):
        self.app = app
        self.author = author
        self.uart = machine.UART.made[2]
        self.opener = frames.Opener(
            hostile.kdf.node_keys(ROOT, SITE, ADDRESS)[0], frames.UP, SITE, ADDRESS
        )
        self.nonce = 0
        self.proven_ms = None  # monotonic; when the last true answer came
        self.latest_s = 0  # the latest time that the node ever showed
        self.accepted = 0
        self.expired = 0
        self.telemetry = None
        self.seq = 0
        self.counts = {}
        self.events = {}
        self._command = app.selector.command
        app.selector.command = self.command

    def count(self, what, n=1):
        self.counts[what] = self.counts.get(what, 0) + n

    def command(self, command_id, from_phase, to_phase, issued_s, expires_s, now_ms):
        """The witness of S4: what is accepted had not expired by any time the node ever showed."""
        before = self.app.selector._command
        known = self.app.state_store.find(command_id)
        self.latest_s = max(self.latest_s, self.app.clock.now_s())
        r = self._command(command_id, from_phase, to_phase, issued_s, expires_s, now_ms)
        if r.outcome == 1 and r is not before and known is None:
            assert self.app.clock.synced and expires_s > self.latest_s, (expires_s, self.latest_s)
            self.accepted += 1
        elif r.outcome == 5 and known is None:
            self.expired += 1
        return r

    async def send(self, adu, wait_ms=60):
        """Put it on the line; what the node answers, b"" for nothing."""
        uart = self.uart
        uart.tx = b""
        uart.rx += adu
        for _ in range(wait_ms):
            await asyncio.sleep_ms(1)
            if uart.tx or (not uart.rx and adu[0] == 0):
                break
        return uart.tx

    def hear(self, answer):
        """The records of an answer; they must all be good."""
        if len(answer) < 6 or answer[1] != 100:
            return []
        body = modbus_client.parse_pdu(modbus_client.split_adu(answer)[1])[1]
        if not body:
            return []
        got = records.decode_all(self.opener.open(body), "up")
        for r in got:
            if r.ID == records.Telemetry.ID:
                self.telemetry = r
            elif r.ID == records.Hello.ID:
                self.nonce = r.nonce
            elif r.ID == records.Event.ID:
                if r.seq > self.seq:
                    self.events[r.code] = self.events.get(r.code, 0) + 1
                    self.seq = r.seq
        return got

    async def poll(self, *items):
        body = self.author.to_node(b"".join([i.encode() for i in items])) if items else b""
        return self.hear(await self.send(self.author.request(body)))

    async def ask(self, *items):
        """A poll that must be answered; junk before it may have cost one."""
        for _ in range(4):
            await asyncio.sleep_ms(6)
            got = await self.poll(*items)
            if got:
                return got
        raise AssertionError("no answer")

    async def sync(self, lie_s=None):
        """A true answer to a fresh nonce, or a lie."""
        await self.ask(records.StatusGet(what=1))
        await self.ask()
        nonce = self.nonce
        for _ in range(4):  # as in `ask`, but with the time of each try
            await asyncio.sleep_ms(6)
            ms = true_ms() if lie_s is None else lie_s * 1000
            sync = records.TimeSync(time_s=ms // 1000, time_ms=ms % 1000, nonce=nonce)
            if await self.poll(sync):
                break
        else:
            raise AssertionError("no answer")
        if lie_s is None:
            self.proven_ms = true_ms()

    def moves(self):
        return [house.changed_us.get(pin) for pin in house.coils]

    async def one(self):
        """One hostile thing."""
        if random.getrandbits(5) == 0:
            self.author.find_group(self.app.link.groups.newest)
        if random.getrandbits(7) == 0:  # a good command, whatever the settings make of it
            body = self.author.to_node(self.author.switch(self.app.report.phase() or 1))
            self.hear(await self.send(self.author.request(body)))
        if random.getrandbits(6) == 0:
            machine.UART.made[1].rx += hostile.noise(random.randint(1, 60))  # the meter's wire
        if random.getrandbits(5) == 0:
            self.count("foreign")
            heard_ms = self.app.link.heard_ms
            self.hear(await self.send(self.author.not_for_a_node()))
            assert self.app.link.heard_ms == heard_ms, "a frame that no controller seals was opened"
        kind = random.getrandbits(4)
        if kind < 8:
            self.count("down")
            self.hear(await self.send(self.author.unicast()))
        elif kind < 12:
            self.count("group")
            await self.send(self.author.broadcast(), 8)
        elif kind < 14:
            self.count("junk")
            await self.send(self.author.junk(), random.choice((1, 3, 8)))
        elif kind == 14:
            self.count("empty")
            self.hear(await self.send(self.author.request(b"")))
        else:
            self.count("mixed")  # in one go, without any silence
            await self.send(
                self.author.junk() + self.author.broadcast() + self.author.unicast(), 12
            )

    def check_time(self):
        clock = self.app.clock
        off = abs(clock.now_ms() - true_ms())
        since = true_ms() - self.proven_ms
        assert off <= 2100 + since // 5000, "the clock walked: %d ms after %d" % (off, since)


async def calm_settings(p):
    """So that commands can be obeyed at all; what the batch before did to them is undone."""
    for key, value in (
        (1, 1),
        (2, 200),
        (6, 0),
        (7, 0),
        (5, 20000),
        (3, 2070),
        (4, 2530),
        (8, 100),
    ):
        await p.ask(records.Config(key=key, value=value))
        await asyncio.sleep_ms(550)


async def batch(p, n):
    app = p.app
    before = p.moves()
    accepted = p.accepted
    if random.getrandbits(1):
        await calm_settings(p)
        phase = app.report.phase()
        if phase:
            body = p.author.to_node(p.author.switch(phase))
            p.hear(await p.send(p.author.request(body)))
    for _ in range(n):
        await p.one()
        assert not TASK.done(), "the application ended"
    p.check_time()
    if p.accepted == accepted:
        assert p.moves() == before, "a contact moved, and nobody was obeyed"
    for _ in range(400):  # what was accepted may be under way
        if app.selector.state == 2:
            break
        await asyncio.sleep_ms(100)
    await p.ask()
    assert p.telemetry.phase and app.selector.state == 2, (app.selector.state, app.report.flags())
    assert len(house.closed()) == 1 and house.shorts == 0 and house.de_errors == 0
    assert house.resets == 0 and not app.faults.count, "a defect was caught"


async def used(p):
    """Bytes in use when nothing waits to be told."""
    for _ in range(80):
        await asyncio.sleep_ms(600)
        await p.ask(records.EventAck(seq=p.seq), records.ResultAck(command_id=1))
        p.app.selector.outbox.clear()
        if not p.app.link.hints and not p.app.settings.ordered:
            break
    gc.collect()
    return gc.mem_alloc()


async def liar(p):
    """Somebody with this node's own keys sets any time there is; nothing expired comes to life."""
    author = p.author
    author.honest_time = False
    author.seconds = p.app.clock.now_s  # commands are fresh by whatever the node takes for now
    await calm_settings(p)
    for lie in range(8):
        off = random.choice((-1, 1)) * random.getrandbits(random.choice((8, 16, 27)))
        edge = hostile.LAST if lie == 3 else random.choice(hostile.EDGES)
        await p.sync(edge if lie % 4 == 3 else seconds() + off)
        await asyncio.sleep_ms(1500)
        body = author.to_node(author.switch(p.app.report.phase() or 1))
        p.hear(await p.send(author.request(body)))
        for _ in range(50):
            await p.one()
    author.honest_time = True
    author.seconds = seconds
    # The truth again: an hour of answers, and it counts.
    for _ in range(14):
        time.jump(360000)
        await p.sync()
    assert abs(p.app.clock.latest_s() - seconds()) <= 3, p.app.clock.latest_s() - seconds()
    p.latest_s = 0
    p.check_time()


async def flood(p):
    """Frames full of what makes the node remember something until it is told: bounded."""
    gc.collect()
    before = gc.mem_alloc()
    for record in (
        records.StatusGet(what=3),
        records.StatusGet(what=4),
        records.ConfigGet(key=255),
        records.Update(op=5),
        records.EventAck(seq=hostile.LAST),
        records.EventAck(seq=1),
        records.Config(key=99, value=1),
        records.ResultAck(command_id=1),
        records.GroupKey(generation=1, challenge=1),
    ):
        raw = record.encode()
        p.app.selector.outbox.clear()  # acknowledged: results are told only when asked for
        for _ in range(60):
            body = p.author.to_node(raw * (225 // len(raw)))
            p.hear(await p.send(p.author.request(body)))
    gc.collect()
    grown = gc.mem_alloc() - before
    assert grown < FLOOD, "%d bytes wait to be told" % grown


async def the_end_of_counters(p):
    """The last counters of all three kinds: used, never used twice, never a crash."""
    author = p.author
    for counter in (hostile.LAST - 400, hostile.LAST - 1, hostile.LAST):
        author.group_counter = counter - 1
        time.jump(700000)
        await p.sync()
        await p.send(author.broadcast(), 8)
    for counter in (hostile.LAST - 400, hostile.LAST):
        author.counter = counter - 1
        assert p.hear(await p.send(author.request(author.to_node(author.payload()))))
    for _ in range(50):
        author.counter = random.getrandbits(32)
        body = author.sealed(author.down, author.counter or 1, author.payload())
        p.hear(await p.send(author.request(body)))
    await asyncio.sleep_ms(1500)
    assert await p.poll(), "what is spent is the controller's counters: the node still answers"
    assert p.app.counters.spent == 2, p.app.counters.spent
    p.app.counters._up = p.app.counters.up_ceiling = hostile.LAST - 100
    answers = 0
    for _ in range(150):
        answers += 1 if await p.poll() else 0
    assert 70 <= answers <= 75, answers  # three of four numbers
    await asyncio.sleep_ms(1500)
    raw = await p.send(author.request(b""))
    assert raw[3] == 0, "sealed with a counter that was used"
    assert p.app.counters.spent == 3 and not p.app.faults.count and not TASK.done()
    found = [e[4] for e in support.newest(p.app.log) if e[1] == 23]
    assert sorted(found) == [1, 2] or sorted(found) == [1, 2, 3], found


TASK = None


async def main():
    global TASK
    app = app_module.App()
    author = hostile.Author(ROOT, GROUP, SITE, ADDRESS, seconds)
    TASK = asyncio.create_task(app.run())
    p = Player(app, author)
    await asyncio.sleep_ms(1000)
    await p.sync()
    for _ in range(200):
        await p.ask()
        if p.telemetry.phase:
            break
        await asyncio.sleep_ms(100)
    sent = 0
    number = 0
    live = []
    while sent < FRAMES:
        await p.sync()
        n = min(BATCH, FRAMES - sent)
        await batch(p, n)
        sent += n
        number += 1
        if number % 10 == 0:
            live.append(await used(p))
            assert len(live) < 3 or live[-1] - live[1] < GROWTH, "the heap grows: %s" % live
        if number % 100 == 0:
            print(sent, "frames, heap", live[-1])
        if number % 20 == 5:
            await liar(p)
        if number % 60 == 5:
            await flood(p)
        if number % 7 == 3:
            time.jump(random.getrandbits(20))  # up to 17 minutes in which nothing comes
    await p.sync()
    await the_end_of_counters(p)
    bad = app.link.bad
    result = {
        "seed": SEED,
        "frames": sent,
        "counts": p.counts,
        "accepted": p.accepted,
        "expired": p.expired,
        "refused": bad,
        "time_refused": app.clock.refused,
        "lifetime": app.state_store.lifetime,
        "live": live,
        "events": p.events,
        "writes": app.stats.writes,
        "virtual_s": seconds() - T0,
    }
    print(json.dumps(result))
    print("ok")


asyncio.run(main())
