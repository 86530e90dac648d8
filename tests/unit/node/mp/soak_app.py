"""A day of one node in virtual time: real modules, the fake house, polls, faults, transfers.

Every hour has two and a half busy minutes (polls each second, garbage, a lost phase, a setting, now
and then a transfer); the rest of the hour is jumped over. argv: boards folder, empty flash folder.
Prints one JSON line with what was measured.
"""

import asyncio
import gc
import json
import sys
import time

import machine
import support
from machine import house

support.host_folder(sys.argv[2])
support.install_board("esp32-devkitc", return_spread_ms=1000, autonomy_spread_ms=2000)

from pbal_node import journal, store  # noqa: E402

# What a node keeps of the past is there from the start: what grows later is a leak.
state = journal.SelectorState("/cfg/selector", store.FlashStats())
for n in range(journal.RESULTS_KEPT):
    state.remember(journal.Result(n + 1, 2, 0, 1, 2, 2, 170, 2301, 5, 6))
state.save()
del state

from pbal_node import app as app_module  # noqa: E402
from pbal_protocol import frames, kdf, modbus_client, records  # noqa: E402

SITE, ADDRESS = 3, 0x0105
ROOT, GROUP = bytes(32), bytes(range(32))
with open("/cfg/identity.json") as f:
    assert json.load(f)["address"] == ADDRESS
UP, DOWN = kdf.node_keys(ROOT, SITE, ADDRESS)
sealer = frames.Sealer(DOWN, frames.DOWN, SITE, ADDRESS)
group = frames.Sealer(kdf.group_key(GROUP, SITE), frames.GROUP, SITE, 0)
opener = frames.Opener(UP, frames.UP, SITE, ADDRESS)
T0 = 1800000000
HOURS = 24


class Controller:
    def __init__(self):
        self.uart = machine.UART.made[2]
        self.counter = 0
        self.nonce = 0
        self.answers = 0
        self.asked = 0
        self.seq = 0
        self.told = 0
        self.telemetry = None
        self.slowest_us = 0
        self.shouts = 0

    async def poll(self, *items):
        frame = b""
        if items:
            self.counter += 1
            frame = sealer.seal(self.counter, b"".join([r.encode() for r in items]))
        uart = self.uart
        uart.tx = b""
        uart.rx += modbus_client.adu(ADDRESS & 0xFF, modbus_client.request_pdu(0, frame))
        self.asked += 1
        begin = time.mono_us()
        for _ in range(60):
            await asyncio.sleep_ms(1)
            if uart.tx:
                break
        else:
            return
        self.answers += 1
        self.slowest_us = max(self.slowest_us, time.mono_us() - begin)
        body = modbus_client.parse_pdu(modbus_client.split_adu(uart.tx)[1])[1]
        for r in records.decode_all(opener.open(body), "up"):
            if r.NAME == "Telemetry":
                self.telemetry = r
            elif r.NAME == "Hello":
                self.nonce = r.nonce
            elif r.NAME == "Event":
                self.seq = max(self.seq, r.seq)
            elif r.NAME == "SwitchResult":
                self.told = r.command_id

    def shout(self, hour, now_s):
        """The group's time of this minute; an hour has sixty of them."""
        self.shouts += 1 if self.shouts > 60 * hour else 60 * hour + 1 - self.shouts
        body = group.seal(self.shouts, records.TimeSync(time_s=now_s, time_ms=0).encode())
        self.uart.rx += modbus_client.adu(0, modbus_client.request_pdu(1, body))

    async def sync(self, now_s):
        await self.poll(records.StatusGet(what=1))
        await self.poll()
        await self.poll(records.TimeSync(time_s=now_s, time_ms=0, nonce=self.nonce))


async def busy(c, app, hour, now_s):
    """Two and a half minutes."""
    await c.sync(now_s)
    for second in range(150):
        begin = time.ticks_ms()
        items = []
        if second == 5:
            items = [records.Config(key=1, value=1800 + hour)]
        elif second == 10:
            c.uart.rx += bytes(range(200))  # somebody's noise
        elif second == 12 and c.seq:
            items = [records.EventAck(seq=c.seq)]
        elif second == 20 and hour % 6 == 1:
            t = c.telemetry
            to = t.phase % 3 + 1
            items = [
                records.Switch(
                    command_id=100 + hour,
                    from_phase=t.phase,
                    to_phase=to,
                    issued_s=t.time_s,
                    expires_s=t.time_s + 30,
                )
            ]
        elif second == 40 and hour % 6 == 1:
            items = [records.ResultAck(command_id=c.told or 1)]
        elif second == 60 and hour % 8 == 3:
            house.volts[c.telemetry.phase] = 0.0  # its phase is lost ...
        elif second == 100:
            house.volts = [0.0, 231.0, 229.0, 233.0]  # ... and comes back
        elif second % 7 == 0:
            items = [records.StatusGet(what=1 + second // 7 % 4)]
        await c.poll(*items)
        if second % 60 == 30:
            c.shout(hour, now_s + second)
        rest = 1000 - time.ticks_diff(time.ticks_ms(), begin)
        if rest > 0:
            await asyncio.sleep_ms(rest)


async def first_telemetry(c, start):
    """(first answer, first fresh voltages, closed), milliseconds from the start of the loops."""
    found = []
    for _ in range(2000):
        await c.poll()
        t = c.telemetry
        for k, there in enumerate((t, t and t.age_ms < 2000 and t.va_v > 200, t and t.phase)):
            if there and len(found) == k:
                found.append((time.mono_us() - start) // 1000)
        if len(found) == 3:
            return found
        await asyncio.sleep_ms(10)
    raise AssertionError("not closed: %s" % found)


async def main():
    start = time.mono_us()
    app = app_module.App()
    task = asyncio.create_task(app.run())
    c = Controller()
    boot = await first_telemetry(c, start)
    live = [0] * HOURS
    writes = [0] * HOURS
    loop_max_ms = 0
    now_s = T0
    for hour in range(HOURS):
        start = time.ticks_ms()
        await busy(c, app, hour, now_s)
        gc.collect()
        live[hour] = gc.mem_alloc()
        writes[hour] = app.stats.writes
        assert not task.done(), "the application ended"
        loop_max_ms = max(loop_max_ms, app.report.loop_max_ms)
        spent = time.ticks_diff(time.ticks_ms(), start)
        time.jump(3600000 - spent)
        now_s += 3600
        await asyncio.sleep_ms(2000)
        app.report.loop_max_ms = 0  # the jump was none of the loop's
    total = gc.mem_alloc() + gc.mem_free()
    print(
        json.dumps(
            {
                "boot_ms": boot,
                "live": live,
                "total": total,
                "writes": writes,
                "asked": c.asked,
                "answers": c.answers,
                "slowest_us": c.slowest_us,
                "heap_used_max": app.report.heap_used_max,
                "uptime_s": app.now_ms() // 1000,
                "lifetime": app.state_store.lifetime,
                "phase": app.report.phase(),
                "errors": app.stats.errors,
                "group_floor": app.floors.group,
                "defects": app.faults.count,
                "resets": house.resets,
                "fed": house.fed,
                "crash": "crash.txt" in support.os.listdir("/log"),
                "loop_max_ms": loop_max_ms,
                "shorts": house.shorts,
            }
        )
    )
    print("ok")


asyncio.run(main())
