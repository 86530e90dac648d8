"""Power-on of the simulated chip: hardware first, then the file system; `_start` goes on.

The simulator calls `prepare` with the addresses of the chip's register page and flash. From
here on only what the flash holds is visible at '/', as on the board. This module is then
unloaded, so that it takes no heap from the firmware.
"""

import sys

import _chip
import hwmap
import vfs
from _flash import Flash


def prepare(page, flash, size):
    _chip.attach(page)
    import machine

    for link in (hwmap.LINK_RS485, hwmap.LINK_METER):
        wire = open(hwmap.FD_LINK + link, "r+b", buffering=0)
        # A chip starts with empty receive buffers, whatever arrived before.
        while wire.read(512):
            pass
        o = 4 * link
        _chip.put_u32(hwmap.RX_READ + o, _chip.u32(hwmap.RX_GIVEN + o))
        machine._links[link] = wire
    machine._links[-1] = open(hwmap.FD_SILENT, "rb", buffering=0)
    # Loaded while the simulator's own folder is still in reach.
    import _start  # noqa: F401
    import esp32  # noqa: F401

    if _chip.page[hwmap.RADIO]:
        import _spi

        machine.SPI = _spi.SPI
        machine.Pin.radio = _spi.pin

    if _chip.page[hwmap.WIFI]:
        import network  # noqa: F401

    vfs.umount("/")
    vfs.mount(vfs.VfsLfs2(Flash(flash, size), progsize=32, readsize=32, lookahead=32), "/")
    sys.path[:] = ["", ".frozen", "/lib"]
    provision()
    for name in ("launcher", "_flash", "_adc"):
        sys.modules.pop(name, None)


def provision():
    """Writes what the factory and the installer put on a board besides the firmware."""
    n = _chip.u32(hwmap.FILES)
    if not n:
        return
    import json
    import os

    start = hwmap.FILES + 4
    files = json.loads(bytes(memoryview(_chip.page)[start : start + n]))
    for path in files:
        folder = path.rsplit("/", 1)[0]
        if folder:
            try:
                os.mkdir(folder)
            except OSError:
                pass
        with open(path, "w") as f:
            f.write(files[path])
