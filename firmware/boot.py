"""Runs first after every reset: outputs off, the watchdog on, a window in which a person gets in.

Enter and Ctrl-C, or Ctrl-C twice, on the serial console within 0.5 s (mpremote and pbal send that),
or the board's button held at reset, leave the board at the REPL with main.py not started. So a
node that keeps crashing can always be flashed again. From here on Ctrl-C interrupts nothing: what
runs looks for it where it can stop (pbal_node/console.py), so that no program ends half-way and
leaves a contact closed.

However the program ends, the prompt does not last: a timer feeds the watchdog while somebody works
there, and restarts the chip when nothing happened for ten minutes.
Uses nothing of ours, because what is ours may be what is broken.
"""

import micropython

micropython.kbd_intr(-1)

import gc  # noqa: E402
import json  # noqa: E402
import select  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import machine  # noqa: E402


def _deaf():
    """A Ctrl-C that came before the first line counts for nothing: it is raised here."""
    for _ in range(3):
        try:
            micropython.kbd_intr(-1)
            time.sleep_ms(0)
            return
        except KeyboardInterrupt:
            pass


def _outputs_off():
    """Every coil off and the RS-485 driver off (S1), whatever the last program left."""
    with open("/board.json") as f:
        board = json.load(f)
    table = board["selector"]
    off = 1 - table.get("on_level", 1)
    for name in table:
        if name in ("a", "b", "c") or name[2:] in ("set", "reset"):
            machine.Pin(table[name], machine.Pin.OUT, value=off)
    machine.Pin(board["uart"]["rs485"]["de"], machine.Pin.OUT, value=0)
    return board


def _care(idle_s=600, longest_s=7200):
    """Feed the watchdog from a timer until the application takes it over, for as long as somebody
    works at the console. Who types or copies files uses the heap: after `idle_s` in which its use
    did not change, or `longest_s` in all, the chip is restarted.
    """
    used, reset = gc.mem_alloc, machine.reset
    wdt = machine.WDT(timeout=15000)
    seen = [0, 0, 0]  # heap in use, for how long that much, how long in all

    def feed(_timer):
        now = used()
        if now != seen[0]:
            seen[0] = now
            seen[1] = 0
        seen[1] += 2
        seen[2] += 2
        if seen[1] > idle_s or seen[2] > longest_s:
            reset()
        wdt.feed()

    machine.Timer(0).init(period=2000, mode=machine.Timer.PERIODIC, callback=feed)


def _wants_in(board):
    """True when the button is held, or a person or a tool asks for the prompt within the window.

    One byte alone is no request: it may be noise.
    """
    pin = board.get("button", {}).get("pin")
    button = machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP) if pin is not None else None
    keys = select.poll()
    keys.register(sys.stdin, select.POLLIN)
    before = b""
    end = time.ticks_add(time.ticks_ms(), 500)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        if button is not None and not button.value():
            return True
        if keys.poll(20):
            # As bytes: a text read waits for the rest of a character.
            key = sys.stdin.buffer.read(1)
            if key == b"\x03" and before in (b"\r", b"\x03"):
                return True
            before = key
            if not key:  # there is no console
                time.sleep_ms(20)
    return False


def _boot(names):
    board = {}
    try:
        board = _outputs_off()
    except Exception as e:
        print("pbal: /board.json is missing or damaged (%r): install the board file" % e)
    _care()
    asked = _wants_in(board)
    for name in list(names):  # the namespace is main.py's, too
        if not name.startswith("__"):
            del names[name]
    if asked:
        # An interrupt in boot.py is how MicroPython is told not to start main.py.
        raise KeyboardInterrupt("pbal: main.py not started; reset to start it")


_deaf()
_boot(globals())
