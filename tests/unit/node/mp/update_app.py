"""The application takes a whole update under the heap limit, in virtual time.

argv: boards folder, a folder for the flash with offer.bin (32 bytes of SHA-256, then the signature)
and stream.bin (manifest and files), length of the manifest, then "run", or "share" for what this
test takes of the heap and nothing else. The updater gets its orders directly:
what a sealed frame needs of the heap test_budgets measures by itself.
Prints one JSON line.
"""

import asyncio
import gc
import json
import sys

from pbal_protocol import modbus  # noqa: F401

gc.collect()
# asyncio, json and what the fake hardware takes of the protocol: a node has them, too.
before = gc.mem_alloc()
import clockwork  # noqa: E402, F401

import machine  # noqa: E402, F401
import support  # noqa: E402

support.host_folder(sys.argv[2])
support.install_board("esp32-devkitc", return_spread_ms=0)
ours = support.own_share(before, sys.argv[4])

from pbal_node import app as app_module  # noqa: E402
from pbal_protocol import records  # noqa: E402


async def main():
    app = app_module.App()
    task = asyncio.create_task(app.run())
    await asyncio.sleep_ms(9000)  # the home closes

    def used():
        gc.collect()
        return gc.mem_alloc() - ours

    found = {"at_rest": used()}
    link = app.link
    link.wants_updater = True
    while link.updater is None and link.wants_updater:
        await asyncio.sleep_ms(100)
    updater = link.updater
    assert updater, "not loaded"
    found["loaded"] = used()
    with open("/offer.bin", "rb") as f:
        offer = f.read()
    size = int(sys.argv[3])
    peaks = {}
    stream = open("/stream.bin", "rb")
    for turn in range(20000):
        s = updater.status()
        if s.digest == offer[:8] and s.stage in (3, 7):
            break
        if s.digest != offer[:8]:
            updater.order(records.Update(op=1, at=size, data=offer))
        elif s.want:
            stream.seek(s.next)
            updater.order(records.Update(op=2, at=s.next, data=stream.read(min(200, s.want))))
        await asyncio.sleep_ms(0)
        if turn % 8 == 0:
            stage = str(s.stage)
            peaks[stage] = max(peaks.get(stage, 0), used())
        assert not task.done()
    found["peaks"] = peaks
    found["stage"], found["why"] = s.stage, s.why
    found["after"] = used()
    found["ours"] = ours
    found["total"] = gc.mem_alloc() + gc.mem_free() - ours
    print(json.dumps(found))
    print("ok")


asyncio.run(main())
