"""The heap after the application was chosen and loaded, while a stale pointer holds what was
forgotten before: argv boards folder, flash folder, "held" or "free".

Prints one JSON line.
"""

import gc
import json
import sys

import support

support.host_folder(sys.argv[2])
support.install_board("esp32-devkitc")

from pbal_node import start  # noqa: E402

for name in ("pbal_node.update", "pbal_protocol.ed25519", "pbal_protocol.stock"):
    __import__(name)
# What a word left on the chip's stack does: through one module it holds all that this one imported.
held = sys.modules["pbal_node.update"] if sys.argv[3] == "held" else None
main = start.application()
gc.collect()
print(json.dumps({"alloc": gc.mem_alloc()}))
print("ok")
