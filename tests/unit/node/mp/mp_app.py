"""The whole application against one simulated home, polled by a controller in the same process."""

import asyncio
import sys

import machine
import support

from pbal_protocol import frames, modbus_client, names, records

kdf = support.own("pbal_protocol", "kdf")

ROOT = bytes(range(32))
GROUP = bytes(range(32, 64))
SITE, ADDRESS = 7, 0x0105

if len(sys.argv) > 2:
    support.host_folder(sys.argv[2])  # the heap budget is measured without a RAM disk in it
else:
    support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=500)
support.install_identity(SITE, ADDRESS, ROOT, GROUP, phase=1)

from pbal_node import app as app_module  # noqa: E402

house = machine.house


class Controller:
    """The other end: seals DOWN frames, opens UP frames, keeps what it heard."""

    def __init__(self):
        up, down = kdf.node_keys(ROOT, SITE, ADDRESS)
        self.opener = frames.Opener(up, frames.UP, SITE, ADDRESS)
        self.sealer = frames.Sealer(down, frames.DOWN, SITE, ADDRESS)
        self.sealer_key = down
        self.counter = 0
        self.heard = {}
        self.results = []
        self.kind = 0
        self.nonces = []
        self.events = []
        self.uart = machine.UART.made[2]

    async def raw(self, adu, wait_ms=150):
        self.uart.tx = b""
        self.uart.rx += adu
        for _ in range(wait_ms // 5):
            await asyncio.sleep_ms(5)
            if self.uart.tx and self.uart.txdone():
                break
        assert house.level[4] == 0, "DE stayed on"
        return self.uart.tx

    async def poll(self, *items):
        frame = b""
        if items:
            self.counter += 1
            frame = self.sealer.seal(self.counter, b"".join([r.encode() for r in items]))
        answer = await self.raw(
            modbus_client.adu(ADDRESS & 0xFF, modbus_client.request_pdu(0, frame))
        )
        if not answer:
            return None
        unit, pdu = modbus_client.split_adu(answer)
        assert unit == ADDRESS & 0xFF
        _flags, body = modbus_client.parse_pdu(pdu)
        self.kind = body[0]
        self.nonces.append(bytes(body[7:19]))
        for r in records.decode_all(self.opener.open(body), "up"):
            self.heard[r.NAME] = r
            if r.NAME == "SwitchResult":
                self.results.append(r)
            elif r.NAME == "Event":
                self.events.append(r)
        return self.heard["Telemetry"]

    async def until(self, test, seconds=10):
        for _ in range(seconds * 5):
            t = await self.poll()
            if t is not None and test(t):
                return t
            await asyncio.sleep_ms(200)
        raise AssertionError("timed out: %r %r" % (self.heard.get("Telemetry"), self.results[-1:]))


class Trial:
    """In place of the slots: a trial that is asked whether it is proven."""

    on_trial = True

    def __init__(self):
        self.heard = []

    def prove(self, now_ms, proven_ms, heard, metered, emit):
        self.heard.append(heard)


def a_trial_is_proven_by_such_a_frame_and_an_answer(app):
    bearer = app.bearers[0]
    kept = app.link.heard_ms, bearer.answered
    app.slots = trial = Trial()
    app.watchdog.poll = lambda now_ms: True
    for app.link.heard_ms, bearer.answered in ((0, 0), (0, 5), (1000, 0), (1000, 5)):
        app._every_two_seconds(app.now_ms())
    assert trial.heard == [False, False, False, True], trial.heard
    app.slots = None
    app.link.heard_ms, bearer.answered = kept
    del app.watchdog.poll


async def scenario(app):
    c = Controller()
    t = await c.until(lambda t: t.phase == 1, 15)
    assert t.state == names.STATE_CLOSED, t
    # In real time: a busy computer spoils single readings.
    await c.until(
        lambda t: abs(t.va_v - 231) < 1.2 and abs(t.vb_v - 229) < 1.2 and abs(t.vc_v - 233) < 1.2
    )
    await c.until(lambda t: t.current_a == 3.0, 5)
    # Before the time is proven each frame has a nonce of its own.
    assert c.kind == 0x14 and len(set(c.nonces)) == len(c.nonces) > 3
    hello = c.heard["Hello"]
    assert hello.eui.hex() == "010203fffe040506"

    # S4: unsynced, refused; a TimeSync without our nonce changes nothing.
    await c.poll(records.TimeSync(time_s=1000000, time_ms=0, nonce=hello.nonce ^ 1))
    now = 1800000000
    await c.poll(
        records.Switch(command_id=1, from_phase=1, to_phase=2, issued_s=now, expires_s=now + 60)
    )
    assert c.results[-1].outcome == 3 and c.results[-1].reason == 9, c.results[-1]
    await c.poll(
        records.TimeSync(time_s=now, time_ms=500, nonce=c.heard["Hello"].nonce),
        records.ResultAck(command_id=1),
    )
    c.results.clear()
    t = await c.poll()
    await asyncio.sleep_ms(1000)  # the clock passes the counter
    await c.poll()
    assert c.kind == 0x11
    assert now <= t.time_s <= now + 1 and not t.flags & names.FLAG_UNSYNCED
    assert not c.results

    command = records.Switch(
        command_id=2, from_phase=1, to_phase=3, issued_s=now, expires_s=now + 60
    )
    await c.poll(command)
    assert c.results[-1].outcome == 1, c.results
    t = await c.until(lambda t: t.phase == 3)
    await c.until(lambda t: c.results[-1].outcome == 2)
    r = c.results[-1]
    assert r.from_phase == 1 and r.to_phase == 3 and 60 < r.transfer_ms < 600, r
    await c.until(lambda t: abs(t.vout_v - 233) < 2)  # a busy computer spoils single readings
    lifetime = r.lifetime_switches
    # The same id again: the first result, no second switching.
    await c.poll(command)
    assert c.results[-1].command_id == 2 and c.results[-1].lifetime_switches == lifetime
    await c.poll(records.ResultAck(command_id=2))
    # S5: dwell.
    await c.poll(
        records.Switch(command_id=3, from_phase=3, to_phase=2, issued_s=now, expires_s=now + 60)
    )
    await c.until(lambda t: c.results[-1].command_id == 3)
    assert c.results[-1].outcome == 3 and c.results[-1].reason == 1, c.results[-1]

    # A forged frame is counted and switches nothing.
    frame = bytearray(c.sealer.seal(c.counter + 1, command.encode()))
    c.counter += 1
    frame[-1] ^= 1
    await c.raw(modbus_client.adu(ADDRESS & 0xFF, modbus_client.request_pdu(0, bytes(frame))))
    await c.poll(records.StatusGet(what=2))
    await c.until(lambda t: "Health" in c.heard)
    assert c.heard["Health"].auth_failed == 1

    # Settings: refused outside their range, kept inside.
    await c.poll(records.Config(key=1, value=60), records.Config(key=1, value=-5))
    await asyncio.sleep_ms(700)
    await c.poll()
    assert app.settings.config.get(1) == 60
    # Held back on the way, a setting would undo the one that was sent after it.
    held = frames.Sealer(c.sealer_key, frames.DOWN, SITE, ADDRESS)
    held = held.seal(c.counter + 1, records.Config(key=1, value=75).encode())
    c.counter += 1
    await c.poll(records.Config(key=1, value=90))
    await asyncio.sleep_ms(700)
    await c.raw(modbus_client.adu(ADDRESS & 0xFF, modbus_client.request_pdu(0, held)))
    await asyncio.sleep_ms(700)
    await c.poll()
    assert app.settings.config.get(1) == 90
    # Events until acknowledged.
    assert c.events
    last = max(e.seq for e in c.events)
    await c.poll(records.EventAck(seq=last))
    c.events.clear()
    await asyncio.sleep_ms(700)
    await c.poll()
    await c.poll()
    assert all(e.seq > last for e in c.events), c.events

    # Stock tools.
    a = await c.raw(modbus_client.adu(5, b"\x04\x00\x00\x00\x05"))
    assert len(a) == 15 and a[3:5] == b"\x00\x01", a
    a = await c.raw(modbus_client.adu(5, b"\x04\x00\x08\x00\x04"))
    assert len(a) == 13 and a[5:7] == b"\x00\x03", a
    a = await c.raw(modbus_client.adu(5, b"\x04\x00\x00\x00\x0c"))
    assert a[1:3] == b"\x84\x02", a  # what the home draws is nobody's business
    a = await c.raw(modbus_client.adu(5, b"\x2b\x0e\x01\x00"))
    assert b"pbal" in a and b"esp32-devkitc" in a, a
    a = await c.raw(modbus_client.adu(5, b"\x04\x00\x01\x00\x0c"))
    assert a[1:3] == b"\x84\x02", a
    a = await c.raw(modbus_client.adu(5, b"\x06\x00\x01\x00\x02"))
    assert a[1:3] == b"\x86\x01", a
    a = await c.raw(
        modbus_client.adu(5, b"\x41\x00\x01\x00\x02")
    )  # no standard length: ends by silence
    assert a[1:3] == b"\xc1\x01", a
    assert await c.raw(modbus_client.adu(6, modbus_client.request_pdu(0)), 60) == b""

    # Group time: cannot switch, may adjust a little.
    gk = kdf.group_key(GROUP, SITE)
    g = frames.Sealer(gk, frames.GROUP, SITE, 0)
    await c.poll(records.ConfigGet(key=1))
    heard_ms = app.link.heard_ms
    assert app.now_ms() - heard_ms < 1000
    replay = frames.Sealer(c.sealer_key, frames.DOWN, SITE, ADDRESS)
    old = replay.seal(c.counter, records.ConfigGet(key=1).encode())
    await asyncio.sleep_ms(100)
    await c.raw(modbus_client.adu(ADDRESS & 0xFF, modbus_client.request_pdu(0, old)))
    before = (await c.poll()).time_s
    for n, step in enumerate((100, -100, 0xFFFFFFFF - before, -before, 1)):
        body = records.TimeSync(time_s=before + step, time_ms=900, nonce=0).encode()
        await c.raw(modbus_client.adu(0, modbus_client.request_pdu(1, g.seal(n + 1, body))), 30)
        t = await c.poll()
        assert before <= t.time_s <= before + 3, (step, t.time_s - before)
    assert t.time_s >= before + 1
    # No group frame, nor one that came before, counts as hearing the controller (S7, a trial).
    assert app.link.heard_ms == heard_ms
    await c.poll(records.ConfigGet(key=1))
    assert app.link.heard_ms > heard_ms
    a_trial_is_proven_by_such_a_frame_and_an_answer(app)

    # The group key changes: proven, both open, and the old one no more once the new one is used.
    new = bytes(range(64, 96))
    await c.poll(records.GroupKey(generation=2, challenge=77, group_key=new))
    await c.until(lambda t: "GroupProof" in c.heard)
    proof = c.heard["GroupProof"]
    ng = frames.Sealer(new, frames.GROUP, SITE, 0)
    assert proof.generation == 2 and proof.proof == ng.proof(ADDRESS, 77)
    body = records.MeasureNow(seq=1).encode()
    for sealer, counter, refused in ((g, 6, 0), (g, 7, 0), (ng, 2, 0), (g, 8, 1), (ng, 3, 0)):
        before = app.link.bad["auth_failed"]
        frame = sealer.seal(counter, body)
        await c.raw(modbus_client.adu(0, modbus_client.request_pdu(1, frame)), 30)
        assert app.link.bad["auth_failed"] == before + refused, counter
    await c.poll(records.GroupKey(generation=3, challenge=0, group_key=bytes(31)))
    assert c.heard["Ack"].result == names.RESULT_REFUSED

    assert house.shorts == 0 and house.de_errors == 0
    # Every two seconds; how many that makes depends on the node's own random delays.
    assert house.fed >= max(app.now_ms() // 2100 - 1, 2), (house.fed, app.now_ms())
    print(
        "heap_used_max",
        app.report.heap_used_max,
        "loop_max_ms",
        app.report.loop_max_ms,
        "spoiled",
        app.sense.spoiled,
        "writes",
        app.stats.writes,
        "late",
        app.bearers[0].late,
    )


async def main():
    app = app_module.App()
    assert "pbal_node.discovery" not in sys.modules, "only a node without keys is searched for"
    task = asyncio.create_task(app.run())
    try:
        await scenario(app)
    finally:
        if task.done():
            await task
    print("ok")


asyncio.run(main())
