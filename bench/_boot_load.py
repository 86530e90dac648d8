"""The MicroPython half of bench.boot: loads the application as a start does and says what it cost.

argv: folder for the flash, "now" or "before". Prints one JSON line.
"""

import gc
import json
import sys

import machine  # noqa: F401  (the stand-in is no part of the start)
import micropython
import support

support.host_folder(sys.argv[2])
support.install_board("esp32-devkitc")

gc.collect()
begin = micropython.mem_total()
if sys.argv[3] == "before":
    for name in ("pbal_protocol.stock", "pbal_node.update", "pbal_protocol.ed25519"):
        __import__(name)
    names = list(sys.modules)
    for name in names:
        if name.startswith("pbal_"):
            del sys.modules[name]
    gc.collect()
else:
    names = []
learnt = micropython.mem_total() - begin
from pbal_node import app  # noqa: E402

app.App()
print(
    json.dumps(
        {
            "learnt": learnt,
            "loaded": micropython.mem_total() - begin - learnt,
            "modules": [[n for n in names if n.startswith("pbal_")], list(sys.modules)],
        }
    )
)
print("ok")
