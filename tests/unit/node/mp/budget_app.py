"""The application alone under the heap limit, polled with frames that were sealed beforehand.

In virtual time, so that no busy computer makes an answer late. argv: boards folder, a folder for
the flash with requests.txt, one request (hex) per line, then "run", or "share" for what this test
takes of the heap and nothing else.
Prints one JSON line with what was measured.
"""

import asyncio
import gc
import json
import sys
from array import array

from pbal_protocol import modbus

gc.collect()
# asyncio, json and what the fake hardware takes of the protocol: a node has them, too.
before = gc.mem_alloc()
import time  # noqa: E402

import clockwork  # noqa: E402, F401
import micropython  # noqa: E402

import machine  # noqa: E402
import support  # noqa: E402

support.host_folder(sys.argv[2])
support.install_board("esp32-devkitc", return_spread_ms=0)
requests = open("/requests.txt")
waits = array("I", bytes(4 * 64))

ours = support.own_share(before, sys.argv[3])
at_rest = before + ours
from pbal_node import app as app_module  # noqa: E402

gc.collect()
print("modules", gc.mem_alloc() - at_rest, "other", at_rest)


async def main():
    start = time.ticks_ms()
    app = app_module.App()
    gc.collect()
    print("built", gc.mem_alloc() - at_rest)
    task = asyncio.create_task(app.run())
    await asyncio.sleep_ms(50)
    uart = machine.UART.made[2]
    answers = 0
    first_ms = 0
    live = []
    for n, line in enumerate(requests):
        uart.tx = b""
        uart.rx += bytes.fromhex(line.strip())
        asked = time.ticks_us()
        for _ in range(400):
            await asyncio.sleep_ms(1)
            if uart.tx:
                break
        if uart.tx:
            answers += 1
            if not first_ms:
                first_ms = time.ticks_diff(time.ticks_ms(), start)
            waits[n % 64] = time.ticks_diff(time.ticks_us(), asked)
        if n % 50 == 49:
            gc.collect()
            live.append(gc.mem_alloc() - ours)
        if n % 50 == 0:
            await asyncio.sleep_ms(200)
        if n == 50:
            await asyncio.sleep_ms(6000)  # the home closes: what is kept from then on, is kept
        assert not task.done()
    # A stock tool asks a node that has worked for a while: its answers' code is loaded only now.
    uart.tx = b""
    request = bytearray(b"\x05\x04\x00\x00\x00\x05\x00\x00")
    modbus.seal_adu(request, 6)
    uart.rx += request
    for _ in range(400):
        await asyncio.sleep_ms(1)
        if uart.tx:
            break
    micropython.qstr_info()
    print(
        json.dumps(
            {
                "answers": answers,
                "stock": bytes(uart.tx[:3]).hex(),
                "live": live,
                "ours": ours,
                "total": gc.mem_alloc() + gc.mem_free() - ours,
                "heap_used_max": app.report.heap_used_max - ours,
                "first_answer_ms": first_ms,
                "phase": app.report.phase(),
                "median_answer_us": sorted(waits)[len(waits) // 2],
                "loop_max_ms": app.report.loop_max_ms,
                "writes": app.stats.writes,
            }
        )
    )
    print("ok")


asyncio.run(main())
