"""The application put together from a board file, settings and an identity, and not run.

Its import mounts the disk: before any import of the application.
"""

import json
import sys

import machine
import support

ROOT = bytes(range(32))

# boot.py lies beside the package, wherever that was found.
BOOT = "/host" + [p for p in sys.path if p.endswith("/firmware")][0] + "/boot.py"
support.ram_disk()

from pbal_node import app as app_module  # noqa: E402

keys = support.own("pbal_protocol", "config")  # the application empties its own
house = machine.house


def make(identity=None, **config):
    """The application on a fresh boot."""
    support.install_board("esp32-devkitc", **config)
    known = {
        "eui": "010203fffe040506",
        "site": 7,
        "address": 0x0105,
        "root": ROOT.hex(),
        "group": ROOT.hex(),
        "phase": 1,
    }
    known.update(identity or {})
    support.write_file("/cfg/identity.json", json.dumps(known))
    return app_module.App()
