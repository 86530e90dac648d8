"""Runs boot.py and main.py from the flash, as the ESP32 port does after power-on."""

import gc
import sys
import time

import _chip
import hwmap

# The interpreter itself uses this much before any module of pbal is loaded.
_BARE = 2880


def stage(number):
    _chip.put_u32(hwmap.STAGE, number)
    _chip.emit(hwmap.EV_STAGE, number)


def script(name, number):
    try:
        with open("/" + name) as f:
            text = f.read()
    except OSError:
        return True
    stage(number)
    try:
        exec(compile(text, name, "exec"), {"__name__": "__main__"})
        return True
    except SystemExit:
        return True
    except BaseException as e:
        sys.print_exception(e)
        stage(hwmap.STAGE_CRASHED)
        return False


def run():
    __main__ = sys.modules.get("__main__")
    if __main__ is not None:
        __main__.__dict__.pop("launcher", None)
    globals().pop("__main__", None)
    gc.collect()
    _chip.put_u32(hwmap.HEAP_HAL, gc.mem_alloc() - _BARE)
    _chip.put_u32(hwmap.HEAP_TOTAL, gc.mem_alloc() + gc.mem_free())
    stage(hwmap.STAGE_MOUNTED)
    if script("boot.py", hwmap.STAGE_BOOT) and script("main.py", hwmap.STAGE_MAIN):
        stage(hwmap.STAGE_IDLE)
    # The prompt of a real chip: only timers run, and a watchdog that none of them feeds resets it.
    import machine

    while True:
        machine.Timer.fire()
        time.sleep_ms(100)
