"""The lock of the console: /cfg/console.json (`pbal provision` writes it: salt, rounds, digests).

Loaded when the prompt of a node that has one is asked for. A line of 64 characters that ends with
Enter is a try of the secret. It is checked in steps, so that nothing waits for it; after a wrong
one the node ignores further ones for a second, then two, four, up to a minute.
"""

import json
from binascii import hexlify
from hashlib import sha256

import machine
from micropython import const

_ENTER = const(13)
_SPACE = const(32)
_SECRET = const(64)  # characters of a secret
_ROUNDS = const(250)  # of the check in a turn
_LONGEST = const(128)  # turns, two in a second
_MOST_ROUNDS = const(10000)  # of a lock: a check must be bounded in time
_EV_AUTH_FAILURES = const(9)
_CONSOLE = const(1)  # its second argument
_WARNING = const(1)
# Indices of what is kept between two turns, in its list.
_WRONG = const(0)
_WAIT = const(1)
_LEFT = const(2)
_FOUND = const(3)


def _read():
    """What opens the console; {}: nothing does."""
    try:
        with open("/cfg/console.json") as f:
            lock = json.load(f)
        lock["salt"] = lock["salt"].encode()
        return lock if 0 < lock["rounds"] <= _MOST_ROUNDS and lock["digests"] else {}
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def lock(emit=None):
    """(checks, types, asks), to be called once in a turn, for each byte, for each request.

    `checks()`: None while nothing is checked, else whether the secret was right. `types(key)`: True
    when a check begins with it. `asks()`: prints why there is no prompt.
    `emit` of the event log is told of wrong secrets: the first, the tenth, the hundredth ...
    """
    opens = _read()
    # Wrong tries, turns to wait, rounds left and digest of the try that is being checked. A list,
    # not an object, as names stay in the heap.
    kept: list = [0, 0, 0, b""]
    line = bytearray()

    def checks():
        if kept[_LEFT] <= 0:
            if kept[_WAIT]:
                kept[_WAIT] -= 1
            return None
        found = kept[_FOUND]
        for _ in range(min(_ROUNDS, kept[_LEFT])):
            found = sha256(found).digest()
        kept[_FOUND] = found
        kept[_LEFT] -= _ROUNDS
        if kept[_LEFT] > 0:
            return False
        if hexlify(found).decode() in opens["digests"]:
            return True
        kept[_WAIT] = min(2 << min(kept[_WRONG], 30), _LONGEST)
        kept[_WRONG] += 1
        if emit is not None and kept[_WRONG] in (1, 10, 100, 1000, 10000):
            emit(_EV_AUTH_FAILURES, _WARNING, kept[_WRONG], _CONSOLE)
        print("pbal: wrong secret; the next in %d s" % (kept[_WAIT] // 2))
        return False

    def types(key: int) -> bool:
        if key >= _SPACE:
            if len(line) <= _SECRET:
                line.append(key)
            return False
        if key == _ENTER and len(line) == _SECRET and opens and not kept[_WAIT]:
            kept[_FOUND] = sha256(opens["salt"] + line).digest()
            kept[_LEFT] = opens["rounds"]
        line[:] = b""
        return kept[_LEFT] > 0

    def asks() -> bool:
        """The prompt is asked for: print why there is none. Bytes typed before are no secret."""
        line[:] = b""
        print("pbal: console locked, node " + hexlify(machine.unique_id()).decode())
        return False

    return checks, types, asks
