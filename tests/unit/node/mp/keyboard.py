"""A console on which the test types: at boot.py's window, and in the running application.

Its import mounts the disk: before any import of the application.
"""

import asyncio
import select
import sys
import time

import machine
import support

BOOT = [p for p in sys.path if p.endswith("/firmware")][0] + "/boot.py"
support.ram_disk()
BOOT = "/host" + BOOT
support.install_board("esp32-devkitc", return_spread_ms=0)
support.install_identity(7, 0x0105, bytes(32), b"\x11" * 32, phase=2)

from pbal_node import console  # noqa: E402

house = machine.house
COILS = (18, 19, 23)

# What tools send, and what noise sends. A text read of the last ones would wait for more.
ASKS = (b"\r\x03", b"\x03\x03", b"\r\x03\x03", b"\r\x03\r\x01", b"\x03\x03\x03\x03")
NOISE = (
    b"",
    b"\x03",
    b"\r",
    b"a",
    b"\x03a\x03",
    b"\xc3",
    b"\xff" * 40,
    b"\xe2\x82",
    b"\x01",
    b"\x04",
    # More than two bytes that happen to be right: dense noise has them every eight minutes.
    b"\xc3\r\x03",
    b"x\r\r\x03",
    b"\x03\x03\xff",
    b"\x80\x03\x03" * 20,
    b"\r\r\r\r",
)


async def nothing():
    pass


# The interpreter stamps the first task by its own clock: let virtual time take that step now.
asyncio.run(nothing())


class Keys:
    """A console on which `data` was typed; also the poll object and sys.stdin."""

    POLLIN = 1

    def __init__(self, data):
        self.data = data
        self.buffer = self.stdin = self

    def __getattr__(self, name):
        return getattr(sys, name)

    def poll(self, ms=None):
        if self.data is None or ms is None:
            return self  # select.poll(); or the end of a file, which is always there
        if not self.data:
            time.sleep_ms(ms)
        return [self] if self.data else []

    def register(self, what, how):
        pass

    def read(self, n):
        assert n == 1, "a read of more waits"
        if self.data is None:
            return b""
        key = self.data[:1]
        self.data = self.data[1:]
        return key


def boot(data):
    """boot.py with `data` typed; True when it keeps main.py from starting."""
    with open(BOOT) as f:
        code = compile(f.read(), "boot.py", "exec")
    keys = Keys(data)
    names = {"__name__": "__main__"}
    house.timer = None
    for pin in COILS:
        house.level[pin] = 1
    sys.modules["select"] = sys.modules["sys"] = keys
    try:
        exec(code, names)
        asked = False
    except KeyboardInterrupt:
        asked = True
    finally:
        sys.modules["select"], sys.modules["sys"] = select, sys
    assert [house.level[pin] for pin in COILS] == [0, 0, 0]
    assert house.timer, "nothing watches"
    assert list(names) == ["__name__"], "left behind: %r" % names
    return asked


def typed(data, emit=None):
    """(what the application asks, the keys) with `data` typed."""
    keys = console.select = console.sys = Keys(data)
    asked = console.console(emit)
    console.select, console.sys = select, sys
    return with_keys(asked, keys), keys


def with_keys(asked, keys):
    """It reads sys.stdin of its module each time."""

    def ask():
        console.sys = keys
        try:
            return asked()
        finally:
            console.sys = sys

    return ask


def turns(asked, most=400):
    """How many turns until it gives the prompt; None if never."""
    for n in range(most):
        if asked():
            return n
    return None
