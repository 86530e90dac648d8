"""Runs first after every reset: outputs off, then a short window in which a person gets in.

Whatever main.py does, the board button held at reset, or any key on the serial console within
1.5 s, leaves the board at the REPL with main.py not started; a Ctrl-C (which is how mpremote
enters the raw REPL) does the same at any time. So a node that keeps crashing can always be
flashed again. Uses nothing of ours, because what is ours may be what is broken.
"""

import json
import select
import sys
import time

import machine

_WINDOW_MS = 1500
_WDT_MS = 15000
_CARE_S = 600  # how long a person at the console is spared the watchdog after a soft reboot


def _outputs_off():
    """Every contact open and the RS-485 driver off (S1), whatever the last program left."""
    with open("/board.json") as f:
        board = json.load(f)
    table = board["selector"]
    off = 1 - table.get("on_level", 1)
    for name in table:
        if name in ("a", "b", "c") or name[2:] in ("set", "reset"):
            machine.Pin(table[name], machine.Pin.OUT, value=off)
    machine.Pin(board["uart"]["rs485"]["de"], machine.Pin.OUT, value=0)
    return board


def _wants_in(board):
    """True when the button is held or a key comes within the window."""
    pin = board.get("button", {}).get("pin")
    button = machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP) if pin is not None else None
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    end = time.ticks_add(time.ticks_ms(), _WINDOW_MS)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        if button is not None and not button.value():
            return True
        if poll.poll(50) and sys.stdin.read(1):
            return True
        time.sleep_ms(20)
    return False


def _care_for_the_watchdog():
    """After a soft reboot (mpremote's way in) the application's watchdog still runs and cannot be
    stopped: feed it from a timer for a while, so that copying files is not cut short.
    """
    left = [_CARE_S // 2]
    wdt = machine.WDT(timeout=_WDT_MS)

    def feed(_timer):
        if left[0]:
            left[0] -= 1
            wdt.feed()

    machine.Timer(0).init(period=2000, mode=machine.Timer.PERIODIC, callback=feed)


_board = {}
try:
    _board = _outputs_off()
except (OSError, ValueError, KeyError) as _e:
    print("pbal: /board.json is missing or damaged (%r): install the board file" % _e)
if machine.reset_cause() == machine.SOFT_RESET and hasattr(machine, "Timer"):
    _care_for_the_watchdog()
if _wants_in(_board):
    # An interrupt in boot.py is how MicroPython is told not to start main.py.
    raise KeyboardInterrupt("pbal: main.py not started; reset to start it")
