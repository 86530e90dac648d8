"""What the processor model makes of what was measured on an emulated ESP32. In virtual time.

argv: boards folder. Prints one JSON line: milliseconds by figure.
"""

import asyncio
import gc
import json
import time

import clockwork
import line as lines
import machine
import processor
import support

support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=0)
ROOT, GROUP = bytes(range(32)), bytes(range(32, 64))
support.install_identity(7, 0x0105, ROOT, GROUP, phase=1)

from pbal_node import app as app_module  # noqa: E402
from pbal_protocol import frames, kdf, modbus_client, records, stock  # noqa: E402, F401

STATE_CLOSED = 2  # as in pbal_protocol.names, which a node does not load
chip = processor.Processor(time.sleep_us)
DOWN = frames.Sealer(kdf.node_keys(ROOT, 7, 0x0105)[1], frames.DOWN, 7, 0x0105)


def adu(pdu):
    return bytes(modbus_client.adu(5, pdu))


class Master:
    """Asks again and again; keeps how long the node took to begin each answer."""

    def __init__(self):
        self.request = b""
        self.count = 0
        self.took = []
        self.sizes = []

    def __call__(self, line):
        while True:
            yield 100000
            if not self.count:
                continue
            self.count -= 1
            yield self.request() if callable(self.request) else self.request
            asked_us = line.t_us
            yield lines.LISTEN
            n = len(line.answer)
            self.sizes.append(n)
            self.took.append((line.t_us - n * line.char_us - asked_us) / 1000)

    async def ask(self, request, count=20):
        self.request, self.took, self.sizes = request, [], []
        self.count = count
        while len(self.took) < count:
            await asyncio.sleep_ms(50)
        return sorted(self.took)


def seal_ms(n):
    buf = bytearray(256)
    before = time.mono_us()
    DOWN.seal_into(DOWN.last + 1, buf, n)
    return (time.mono_us() - before) / 1000


async def main():
    clockwork.charge = chip.charge
    clockwork.step_us = processor.STEP_US
    app = app_module.App()
    chip.slow_down()
    time.look_costs(processor.LOOK_US)
    wire = lines.Line(machine.UART.made[2])
    master = Master()
    wire.say(master)
    worst = [0, 0]  # of the event loop: quiet, and while contacts move
    task = asyncio.create_task(app.run())

    async def lateness():
        while True:
            before = time.mono_us()
            await asyncio.sleep_ms(5)
            late = (time.mono_us() - before) / 1000 - 5
            k = 1 if app.selector.busy else 0
            worst[k] = max(worst[k], late)

    asyncio.create_task(lateness())
    while app.selector.state != STATE_CLOSED:
        await asyncio.sleep_ms(100)
        assert not task.done()
    await asyncio.sleep_ms(500)
    # It knows the time, so its frames carry no nonce of their own, as the measured ones did not.
    assert app.clock.set(1800000000, 0, app.clock.ask(7), True)
    app.counters.follow(1800000000)
    for n in range(6):
        app.log.emit(9, 1, n, 0)  # six events: the answer becomes as long as the one measured
    worst[0] = 0
    before_us, before = time.mono_us(), chip.collections
    await asyncio.sleep_ms(20000)
    rate = (chip.collections - before) * 1e6 / (time.mono_us() - before_us)
    quiet = worst[0]
    polls = await master.ask(adu(modbus_client.request_pdu(0)))
    poll_size = max(master.sizes)
    await master.ask(adu(b"\x04\x00\x00\x00\x0c"), 2)  # loads what answers
    chip.slow_down()
    reads = await master.ask(adu(b"\x04\x00\x00\x00\x0c"))
    app_module.gc.collect()  # none falls due while a frame is sealed
    a = seal_ms(100)
    b = seal_ms(196)
    before = time.mono_us()
    app_module.gc.collect()
    collect = (time.mono_us() - before) / 1000
    print(
        json.dumps(
            {
                "poll_bytes": poll_size,
                "poll_median": polls[len(polls) // 2],
                "poll_most": polls[-1],
                "stock_least": reads[0],
                "stock_median": reads[len(reads) // 2],
                "loop_worst": quiet,
                "loop_worst_moving": worst[1],
                "collect": collect,
                "seal_100": a,
                "seal_196": b,
                "collections_per_s": rate,
            }
        )
    )
    print("ok")


gc.collect()
asyncio.run(main())
