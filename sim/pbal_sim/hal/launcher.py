"""Power-on of the simulated chip: hardware first, then the file system; `_start` goes on.

The simulator calls `prepare` with the addresses of the chip's register page and flash. From
here on only what the flash holds is visible at '/', as on the board. This module is then thrown
away, so that it takes no heap from the firmware.
"""

import sys

import _chip
import hwmap
import vfs
from _flash import Flash


def prepare(page, flash, size):
    _chip.attach(page, open(10, "r+b", buffering=0))
    fds = _chip.config["fds"]
    links = {}
    for link in range(-1, len(fds) - 1):
        wire = links[link] = open(fds[link], "r+b", buffering=0)
        if link >= 0:
            # A chip that starts has empty receive buffers, whatever arrived while it was down.
            while wire.read(512):
                pass
            o = 4 * link
            _chip.put_u32(hwmap.RX_READ + o, _chip.u32(hwmap.RX_GIVEN + o))
    import machine

    machine._links.update(links)
    import _start
    import esp32

    vfs.umount("/")
    vfs.mount(vfs.VfsLfs2(Flash(flash, size), progsize=32, readsize=32, lookahead=32), "/")
    sys.path[:] = ["", ".frozen", "/lib"]
    provision(_chip.config.pop("files", None))
    for name in ("launcher", "_flash", "_adc"):
        sys.modules.pop(name, None)


def provision(files):
    """Writes what the factory and the installer put on a board besides the firmware."""
    if not files:
        return
    import os

    for path in files:
        folder = path.rsplit("/", 1)[0]
        if folder:
            try:
                os.mkdir(folder)
            except OSError:
                pass
        with open(path, "w") as f:
            f.write(files[path])
