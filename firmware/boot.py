"""Runs first after every reset: outputs off, the watchdog on, a window to ask for the prompt.

Enter and Ctrl-C on the serial console within 0.5 s, three such bytes in a row as tools send them or
two as a person types them, with nothing else for 0.1 s before, or the board's button held at reset,
leave the board at the REPL with main.py not started. So a
node that keeps crashing can always be flashed again. A node with a lock (/cfg/console.json, written
by `pbal provision`) then requires the node's secret, as a line: one try for each start. From here
on Ctrl-C interrupts nothing: the program looks for it where it can stop (pbal_node/console.py), so
that it never ends half-way and leaves a contact closed.

However the program ends, the prompt is limited in time: a timer feeds the watchdog while a person
works there, and restarts the chip after ten minutes without activity.
Uses no module of pbal, because the fault may be in one of them.
"""

import micropython

try:
    # A Ctrl-C that came before is ignored. It is raised at the next jump or wait: there is no jump
    # before this wait.
    micropython.kbd_intr(-1)
    import time

    time.sleep_ms(0)
except KeyboardInterrupt:
    micropython.kbd_intr(-1)
    import time

import binascii
import gc
import hashlib
import json
import os
import select
import sys

import machine


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
    """Feed the watchdog from a timer until the application takes it over, for as long as a person
    works at the console. Typing and copying files use the heap: after `idle_s` in which its use
    did not change, or `longest_s` in all, the chip is restarted.
    """
    used, reset = gc.mem_alloc, machine.reset
    wdt = machine.WDT(timeout=15000)
    seen = [0, 0, 0]  # heap in use, seconds since it changed, seconds in all

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


def _lock():
    """What opens the console: salt, rounds, digests. None: it is open; {}: nothing opens it."""
    try:
        with open("/cfg/console.json") as f:
            return json.load(f)
    except OSError as e:
        return None if e.errno == 2 else {}  # 2: no such file
    except ValueError:
        return {}


def _opens(lock, line):
    """True for the secret. As in pbal_node/console.py and in pbal_tools/consolelock.py."""
    try:
        if not 0 < lock["rounds"] <= 10000:
            return False  # a check must be bounded in time
        found = hashlib.sha256(lock["salt"].encode() + line).digest()
        for _ in range(lock["rounds"]):
            found = hashlib.sha256(found).digest()
        return binascii.hexlify(found).decode() in lock["digests"]
    except (AttributeError, KeyError, TypeError):
        return False  # a damaged file


def _stays(lock):
    """True when a locked board has no program to start: the prompt must not follow instead.
    A soft reset comes from the prompt: there the secret was already given.
    """
    if lock is None or machine.reset_cause() == machine.SOFT_RESET:
        return False
    try:
        os.stat("/main.py")
        return False
    except OSError:
        return True


def _wants_in(board, lock):
    """True when the button is held, or a person or a tool asks for the prompt within the window,
    and knows the secret of a locked board.

    Bytes without a pause before them are no request: they may be noise. A line of another length is
    no secret.
    """
    pin = board.get("button", {}).get("pin")
    button = machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP) if pin is not None else None
    keys = select.poll()
    keys.register(sys.stdin, select.POLLIN)
    seen = line = b""  # since a pause; since Enter
    idle = 0
    stays = _stays(lock)
    wait = told = 0
    end = time.ticks_add(time.ticks_ms(), 500)
    while stays or time.ticks_diff(end, time.ticks_ms()) > 0:
        if button is not None and not button.value():
            return True
        asked = False
        if not keys.poll(20):
            idle += 1
            asked = idle == 5 and len(seen) == 2 and seen[-1:] == b"\x03"
        else:
            # As bytes: a text read waits for the rest of a character.
            key = sys.stdin.buffer.read(1)
            if idle >= 5:
                seen = b""
            idle = 0
            seen = (seen + key)[:4]
            asked = len(seen) == 3 and b"\x03" in seen
            if key == b"\r":
                if lock is not None and len(line) == 64:
                    if _opens(lock, line):
                        return True
                    print("pbal: wrong secret")
                    if not stays:
                        return False
                    wait = min(2 * wait + 1, 63)
                    time.sleep(wait)
                line = b""
            elif key > b"\x1f":
                line = (line + key)[:65]
            else:
                line = b""
            if not key:  # there is no console
                time.sleep_ms(20)
        if asked and not seen.strip(b"\r\x03"):
            if lock is None:
                return True
            if stays or not told:
                told = 1
                end = time.ticks_add(time.ticks_ms(), 3000)  # for the tool to find the secret
                print(
                    "pbal: console locked, node " + binascii.hexlify(machine.unique_id()).decode()
                )
    return False


def _boot(names):
    board = {}
    try:
        board = _outputs_off()
    except Exception as e:
        print("pbal: /board.json is missing or damaged (%r): install the board file" % e)
    _care()
    asked = _wants_in(board, _lock())
    for name in list(names):  # the namespace is main.py's, too
        if not name.startswith("__"):
            del names[name]
    if asked:
        # An interrupt in boot.py is how MicroPython is told not to start main.py.
        raise KeyboardInterrupt("pbal: main.py not started; reset to start it")


_boot(globals())
