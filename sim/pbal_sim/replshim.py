# mypy: ignore-errors
"""Starts MicroPython as an ESP32 would: file system from flash, boot.py, main.py, then the REPL.

Runs on the unix port of MicroPython, with -i so that its REPL follows. Arguments: flash file,
offset and size of the file system, MAC as hex, chip name, cause of the reset ("power", "reset",
"watchdog" or "soft"), "raw" or "friendly" (in raw mode main.py is not run, as on the ESP32 port),
the analogue inputs, the file of the chip's state (`chipstate`).
"""

import io
import json
import math
import os
import struct
import sys
import time

import micropython
import vfs

_path, _offset, _size, _mac, _chip, _start, _mode = sys.argv[1:8]
# Pin -> (volts RMS at the pin, degrees): what the front end would see of a 50 Hz supply; or, behind
# contacts, coil -> (volts, degrees).
_analog = {int(k): v for k, v in json.loads(sys.argv[8]).items()}
_state = open(sys.argv[9], "r+b")  # noqa: SIM115 - lives as long as the chip
# As in chipstate.py.
_MODE, _SEEN, _RESET, _TIMERS, _WDT_MS, _WDT_FEEDS, _PINS = 0, 1, 2, 3, 4, 8, 16
_DEAF, _INTERRUPTS, _PROMPT = 0, 1, 2


def _put(offset, data):
    _state.seek(offset)
    _state.write(data)


def _switch(mode):
    """Sets what a Ctrl-C does; waits until the board has read it, as no interrupt may come later.

    One that comes meanwhile came before the switch, and is raised after it.
    """
    hit = None
    while True:
        try:
            _put(_MODE, bytes([mode]))
            while True:
                _state.seek(_SEEN)
                if _state.read(1)[0] == mode:
                    break
                time.sleep_ms(1)
            break
        except KeyboardInterrupt as e:
            hit = e
    if hit:
        raise hit


class _FlashPart:
    """The `vfs` partition as a block device over the emulated flash."""

    def __init__(self, path, offset, size):
        self._file = open(path, "r+b")  # noqa: SIM115 - lives as long as the chip
        self._offset = offset
        self._blocks = size // 4096

    def readblocks(self, n, buf, off=0):
        self._file.seek(self._offset + n * 4096 + off)
        self._file.readinto(buf)

    def writeblocks(self, n, buf, off=None):
        if off is None:
            off = 0
        self._file.seek(self._offset + n * 4096 + off)
        self._file.write(buf)

    def ioctl(self, op, arg):
        if op == 4:
            return self._blocks
        if op == 5:
            return 4096
        if op == 6:
            self._file.seek(self._offset + arg * 4096)
            self._file.write(b"\xff" * 4096)
            return 0
        if op == 3:
            self._file.flush()
        return None


class _Pin:
    """A pin without a connection: it keeps its driven level, and is high with a pull-up."""

    IN, OUT, OPEN_DRAIN, PULL_DOWN, PULL_UP = 1, 3, 7, 1, 2
    IRQ_RISING, IRQ_FALLING = 1, 2
    _levels = {}  # noqa: RUF012 - shared: one chip has one set of pins

    def __init__(self, number, mode=-1, pull=-1, value=None, **_):
        self._number = number
        if value is not None:
            self.value(value)
        elif pull == self.PULL_UP:
            self._levels.setdefault(number, 1)

    def init(self, *args, **kwargs):
        pass

    def value(self, level=None):
        if level is None:
            return self._levels.get(self._number, 0)
        self._levels[self._number] = 1 if level else 0
        _put(_PINS + self._number, b"\x01" if level else b"\x00")

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def irq(self, *args, **kwargs):
        pass


class _ADC:
    """An input with its front end: the bias of 1.3 V, a little noise, and the mains if any."""

    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = 0, 1, 2, 3

    def __init__(self, pin, atten=0, **_):
        self._n = 0
        self._seen = _analog.get(pin._number, (0.0, 0.0))

    def read_uv(self):
        self._n = (self._n * 5 + 3) & 7
        wave = 0.0
        rms, degrees = self._seen if isinstance(self._seen, (list, tuple)) else self._through()
        if rms:
            turn = 2 * math.pi * 50 * (time.ticks_us() % 1000000) / 1e6
            wave = rms * 1.4142136e6 * math.sin(turn + math.radians(degrees))
        return int(1300000 + 800 * (self._n - 4) + wave)

    def _through(self):
        """The voltage behind the contacts: that of the first whose coil is driven."""
        for coil, source in self._seen.items():
            if _Pin._levels.get(int(coil)):
                return source
        return 0.0, 0.0

    def read_u16(self):
        return self.read_uv() * 65535 // 3100000


class _UART(io.IOBase):
    """A port without a device on the line."""

    def __init__(self, number, *args, **kwargs):
        self._number = number

    def init(self, *args, **kwargs):
        pass

    def deinit(self):
        pass

    def any(self):
        return 0

    def read(self, *args):
        return None

    def readinto(self, *args):
        return None

    def write(self, data):
        return len(data)

    def flush(self):
        pass

    def txdone(self):
        return True

    def irq(self, *args, **kwargs):
        pass

    def ioctl(self, request, argument):
        return argument & 4 if request == 3 else -1  # poll: there is room, and nothing to read


class _WDT:
    """The board resets a chip that does not feed it, also over soft reboots."""

    _feeds = 0

    def __init__(self, id=0, timeout=5000):
        _put(_WDT_MS, struct.pack("<I", timeout))
        self.feed()

    def feed(self):
        _WDT._feeds += 1
        _put(_WDT_FEEDS, struct.pack("<I", _WDT._feeds))


class _Timer:
    """Nothing can call back in the middle of a program here: the board only learns that it runs."""

    ONE_SHOT, PERIODIC = 0, 1
    _running = set()  # noqa: RUF012 - shared: one chip has one set of timers

    def __init__(self, number=-1, **_):
        self._number = number

    def init(self, *args, callback=None, **kwargs):
        self._running.add(self._number)
        _put(_TIMERS, bytes([len(self._running)]))

    def deinit(self):
        self._running.discard(self._number)
        _put(_TIMERS, bytes([len(self._running)]))


class _Machine:
    """The hardware of a board with nothing wired to its pins."""

    PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
    Pin, ADC, UART, WDT, Timer = _Pin, _ADC, _UART, _WDT, _Timer

    def unique_id(self):
        return bytes(int(_mac[i : i + 2], 16) for i in range(0, 12, 2))

    def reset(self):
        _put(_RESET, b"\x01")
        while True:
            time.sleep(1)

    def soft_reset(self):
        sys.exit(0)

    def reset_cause(self):
        return {"soft": 5, "watchdog": 3, "reset": 2}.get(_start, self.PWRON_RESET)

    def freq(self, hz=None):
        return 160000000


class _Micropython:
    """The real module, except for the use of Ctrl-C."""

    def __init__(self):
        for name in dir(micropython):
            if name[0] != "_" and name != "kbd_intr":
                setattr(self, name, getattr(micropython, name))

    def kbd_intr(self, char):
        _switch(_INTERRUPTS if char == 3 else _DEAF)


# boot.py and main.py share one namespace, and may remove any name from it.
_main = {"__name__": "__main__"}


def _start_file(name):
    """Runs one start-up file; False if it was interrupted or failed, as in the port's C code."""
    try:
        with open(name) as file:
            text = file.read()
    except OSError:
        return True
    begun = []

    def begin():
        del _main["_begin"]
        begun.append(True)

    try:
        # On the port Ctrl-C counts from the file's own first instruction on, not before.
        code = compile("_begin();" + text, name, "exec")
        while not begun:
            _main["_begin"] = begin
            try:
                _switch(_INTERRUPTS)
                exec(code, _main)
            except KeyboardInterrupt:
                if begun:
                    raise
        _switch(_DEAF)
    except KeyboardInterrupt as exc:
        _quietly(_switch, _DEAF)
        _quietly(sys.print_exception, exc)
        return False
    except Exception as exc:
        _quietly(_switch, _DEAF)
        _quietly(sys.print_exception, exc)
        return False
    return True


def _quietly(do, what):
    """Calls it, and ignores an interrupt meanwhile."""
    try:
        return do(what)
    except KeyboardInterrupt:
        return None


def _boot():
    sys.modules["machine"] = _Machine()
    sys.modules["micropython"] = _Micropython()
    if _start == "soft":
        _state.seek(_PINS)
        for number, level in enumerate(_state.read(64)):
            if level:
                _Pin._levels[number] = 1
    part = _FlashPart(_path, int(_offset), int(_size))
    try:
        disk = vfs.VfsLfs2(part)
        vfs.mount(disk, "/flash_")
        vfs.umount("/flash_")
    except OSError:
        vfs.VfsLfs2.mkfs(part)
        disk = vfs.VfsLfs2(part)
        vfs.mount(disk, "/flash_")
        with open("/flash_/boot.py", "w") as file:
            file.write("# This file is executed on every boot\n")
        vfs.umount("/flash_")
    vfs.umount("/")
    vfs.mount(disk, "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    sys.argv[:] = []
    sys.stdout.write("\x1e")
    try:
        done = _start_file("boot.py")
        if done and _mode == "friendly":
            _start_file("main.py")
    except KeyboardInterrupt:
        pass
    _quietly(_switch, _PROMPT)


_boot()
