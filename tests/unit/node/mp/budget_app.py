"""The application alone under the heap limit, polled with frames that were sealed beforehand.

argv: boards folder, an empty folder for the flash, a file with one request (hex) per line.
Prints one JSON line with what was measured.
"""

import asyncio
import gc
import json
import sys
import time

import machine
import support

support.host_folder(sys.argv[2])
support.install_board("esp32-devkitc", return_spread_ms=0)
requests = open("/requests.txt")

gc.collect()
at_rest = gc.mem_alloc()  # interpreter, fake hardware and this test: not the node's
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
    waits = []
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
            waits.append(time.ticks_diff(time.ticks_us(), asked))
            if len(waits) > 64:
                waits.pop(0)
        if n % 50 == 49:
            gc.collect()
            live.append(gc.mem_alloc())
        if n % 50 == 0:
            await asyncio.sleep_ms(200)
        assert not task.done()
    print(
        json.dumps(
            {
                "answers": answers,
                "live": live,
                "total": gc.mem_alloc() + gc.mem_free(),
                "heap_used_max": app.heap_used_max,
                "first_answer_ms": first_ms,
                "phase": app.phase(),
                "median_answer_us": sorted(waits)[len(waits) // 2],
                "loop_max_ms": app.loop_max_ms,
                "writes": app.stats.writes,
            }
        )
    )
    print("ok")


asyncio.run(main())
