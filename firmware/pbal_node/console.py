"""The serial console while the application runs.

Ctrl-C raises nothing in the application (boot.py, main.py): it is looked for here, between two
turns, where the program can stop with its contacts known. Three bytes of Enter and Ctrl-C in a row
ask for the prompt, as tools send them; or two, Ctrl-C last, with nothing before and after them for
a turn, as a person types them. Any other byte in this turn or the one before makes them noise.

Where /cfg/console.json is (`pbal provision` writes it: salt, rounds, digests), they only make the
node say that it is locked and who it is. A line of 64 characters that ends with Enter is then a try
of the secret. It is checked in pieces, so that nothing waits for it; after a wrong one the node
looks at none for a second, then two, four, up to a minute.
"""

import json
import select
import sys
from binascii import hexlify
from hashlib import sha256

import machine
from micropython import const

_CTRL_C = const(3)
_ENTER = const(13)
_SPACE = const(32)
_GONE = const(256)  # there is no console
_AT_ONCE = const(64)  # bytes looked at in a turn: noise must not hold the application up
_SECRET = const(64)  # characters of a secret
_ROUNDS = const(250)  # of the check in a turn
_LONGEST = const(128)  # turns, two in a second
_NO_SUCH_FILE = const(2)
_RUN_ASKS = const(3)
_PAIR = const(2)
_MOST_ROUNDS = const(10000)  # of a lock: a try must end
_EV_AUTH_FAILURES = const(9)
_CONSOLE = const(1)  # its second argument
_WARNING = const(1)
# Where what is kept between two turns stands in its list.
_LAST, _WRONG, _WAIT, _LEFT, _FOUND = const(0), const(1), const(2), const(3), const(4)
_RUN, _STOPS, _OTHER = const(5), const(6), const(7)


def _lock():
    """What opens the console. None: it is open; {}: nothing opens it."""
    try:
        with open("/cfg/console.json") as f:
            lock = json.load(f)
        lock["salt"] = lock["salt"].encode()
        return lock if 0 < lock["rounds"] <= _MOST_ROUNDS and lock["digests"] else {}
    except OSError as e:
        return None if e.errno == _NO_SUCH_FILE else {}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def console(emit=None):
    """A function that is true when somebody asks for the prompt and may have it. What follows the
    request, or the secret, is left to the prompt: tools send the next thing at once.

    `emit` of the event log is told of wrong secrets: the first, the tenth, the hundredth ...
    """
    keys = select.poll()
    keys.register(sys.stdin, select.POLLIN)
    # What came last, wrong tries, turns to wait, rounds left and digest of the try that is being
    # checked; Enters and Ctrl-Cs in a row, Ctrl-Cs among them, turns in which another byte counts.
    # A list, and no object, as names stay in the heap for ever.
    kept: list = [0, 0, 0, 0, b"", 0, 0, 0]
    line = bytearray()
    lock = _lock()

    def right() -> bool:
        """A piece of the check. True at its end for the secret."""
        found = kept[_FOUND]
        for _ in range(min(_ROUNDS, kept[_LEFT])):
            found = sha256(found).digest()
        kept[_FOUND] = found
        kept[_LEFT] -= _ROUNDS
        if kept[_LEFT] > 0:
            return False
        if hexlify(found).decode() in lock["digests"]:
            return True
        kept[_WAIT] = min(2 << min(kept[_WRONG], 30), _LONGEST)
        kept[_WRONG] += 1
        if emit is not None and kept[_WRONG] in (1, 10, 100, 1000, 10000):
            emit(_EV_AUTH_FAILURES, _WARNING, kept[_WRONG], _CONSOLE)
        print("pbal: wrong secret; the next in %d s" % (kept[_WAIT] // 2))
        return False

    def granted() -> bool:
        """Somebody asks: the prompt where there is no lock."""
        kept[_RUN] = kept[_STOPS] = 0
        if lock is None:
            return True
        line[:] = b""
        print("pbal: console locked, node " + hexlify(machine.unique_id()).decode())
        return False

    def asked() -> bool:
        if kept[_LEFT] > 0:
            return right()
        if kept[_WAIT]:
            kept[_WAIT] -= 1
        if kept[_OTHER]:
            kept[_OTHER] -= 1
        came = False
        for _ in range(_AT_ONCE):
            if kept[_LAST] == _GONE or not keys.poll(0):
                break
            key = sys.stdin.buffer.read(1)
            if not key:
                kept[_LAST] = _GONE
                break
            came = True
            kept[_LAST] = key[0]
            if key[0] in (_ENTER, _CTRL_C):
                kept[_RUN] += 1
                kept[_STOPS] += 1 if key[0] == _CTRL_C else 0
            else:
                kept[_RUN] = kept[_STOPS] = 0
                kept[_OTHER] = 2
            if kept[_RUN] >= _RUN_ASKS and kept[_STOPS] and not kept[_OTHER]:
                return granted()
            if lock:
                if key[0] >= _SPACE and len(line) <= _SECRET:
                    line.extend(key)
                elif key[0] < _SPACE:
                    if key[0] == _ENTER and len(line) == _SECRET and not kept[_WAIT]:
                        kept[_FOUND] = sha256(lock["salt"] + line).digest()
                        kept[_LEFT] = lock["rounds"]
                    line[:] = b""
                    if kept[_LEFT] > 0:
                        break
        if came:
            return False
        pair = kept[_RUN] == _PAIR and kept[_LAST] == _CTRL_C and not kept[_OTHER]
        kept[_RUN] = kept[_STOPS] = 0
        return pair and granted()

    return asked
