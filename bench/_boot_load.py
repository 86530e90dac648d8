"""The MicroPython half of bench.boot: starts the application as main.py does, from a flash as the
chip's, and reports how much flash, heap and how many look-ups that took.

argv: folder for board files (unused), folder with the image's files, "now", "plain" (without
pbal_node.importer) or "before", and "flash" to count its reads or "heap" to count allocations: the
flash in memory allocates on the heap, too. Prints one JSON line.
"""

import gc
import json
import os
import sys

import machine  # noqa: F401  (the stand-in is no part of the start)
import micropython
import support

from pbal_protocol import modbus

IMAGE, HOW, WHAT = sys.argv[2:]
reads = [0, 0]


class Flash(support.RamBlocks):
    """Counts what the file system reads of it."""

    def readblocks(self, block, buf, off=0):
        reads[0] += 1
        reads[1] += len(buf)
        super().readblocks(block, buf, off)


def files(folder, inside=""):
    for name, kind, *_ in sorted(os.ilistdir(folder)):
        if kind == 0x4000:
            yield from files(folder + "/" + name, inside + "/" + name)
        else:
            with open(folder + "/" + name, "rb") as f:
                yield inside + "/" + name, f.read()


def install():
    content = list(files(IMAGE))
    support._keep_host()
    support.mount(Flash(256), True)
    os.chdir("/")
    made = set()
    for path, data in content:
        folder = ""
        for part in path.split("/")[1:-1]:
            folder += "/" + part
            if folder not in made:
                made.add(folder)
                os.mkdir(folder)
        with open(path, "wb") as f:
            f.write(data)


def forget():
    for name in list(sys.modules):
        if name.startswith("pbal_"):
            del sys.modules[name]
    gc.collect()


def as_it_was():
    """What start.py did then: each import looked for in all folders, our package loaded anew."""
    for name in ("asyncio", "hashlib", "json", "struct", "binascii"):
        found = sys.modules.pop(name)
        __import__(name)
        if name == "asyncio":
            sys.modules[name] = found  # it has its parts already
    forget()
    __import__("pbal_node.app")


if WHAT == "flash":
    install()
else:
    support.host_folder(IMAGE)
crc16 = modbus.crc16  # the stand-in's own
forget()
sys.path[:] = ["", ".frozen", "/lib"]
gc.collect()
begin = micropython.mem_total()
reads[:] = [0, 0]
loaded = learnt = 0
if HOW == "before":
    for name in ("pbal_node.app", "pbal_node.build", "pbal_node.link"):
        __import__(name)
    for name in ("pbal_protocol.stock", "pbal_node.update", "pbal_protocol.ed25519"):
        __import__(name)
    loaded = len([n for n in sys.modules if n.startswith("pbal_")])
    forget()
    learnt = micropython.mem_total() - begin
from pbal_node.start import application  # noqa: E402

if HOW == "now":
    main = application()
else:
    as_it_was()
from pbal_node import app, importer  # noqa: E402

if HOW != "now":
    importer.Importer.begin = lambda self: None
app.App()
print(
    json.dumps(
        {
            "learnt": learnt,
            "loaded": micropython.mem_total() - begin - learnt,
            "modules": loaded + len([n for n in sys.modules if n.startswith("pbal_")]),
            "reads": reads[0],
            "bytes": reads[1],
        }
    )
)
print("ok")
