"""The serial console while the application runs.

Ctrl-C raises nothing in the application (boot.py, main.py): it is looked for here, between two
turns, where the program can stop with its contacts known. Three bytes of Enter and Ctrl-C in a row
ask for the prompt, as tools send them; or two, Ctrl-C last, with nothing before and after them for
a turn, as a person types them. Any other byte in this turn or the one before makes them noise.

Where /cfg/console.json exists, they only make the node print that it is locked and its id, and
from then on it looks for the secret (lock.py).
"""

import gc
import os
import select
import sys

from micropython import const

_CTRL_C = const(3)
_ENTER = const(13)
_GONE = const(256)  # there is no console
_AT_ONCE = const(64)  # bytes looked at in a turn: noise must not hold the application up
_NO_SUCH_FILE = const(2)
_RUN_ASKS = const(3)
_PAIR = const(2)
# Indices of what is kept between two turns, in its list.
_LAST = const(0)
_RUN = const(1)
_STOPS = const(2)
_OTHER = const(3)


def console(emit=None):
    """A function that is true when the prompt is asked for and granted. Bytes that follow the
    request, or the secret, are left to the prompt: tools send the next command at once.

    `emit` of the event log is told of wrong secrets: the first, the tenth, the hundredth ...
    """
    keys = select.poll()
    keys.register(sys.stdin, select.POLLIN)
    # What came last; Enters and Ctrl-Cs in a row, Ctrl-Cs among them, turns in which another byte
    # counts. A list, not an object, as names stay in the heap.
    kept: list = [0, 0, 0, 0]
    lock: list = []  # its functions, from the first request on
    try:
        os.stat("/cfg/console.json")
        is_open = False
    except OSError as e:  # a file that cannot be read may be a lock
        is_open = e.errno == _NO_SUCH_FILE

    def granted() -> bool:
        """The prompt is asked for: granted where there is no lock."""
        kept[_RUN] = kept[_STOPS] = 0
        if is_open:
            return True
        if not lock:
            gc.collect()
            try:
                from pbal_node.lock import lock as load

                lock.extend(load(emit))
            except (MemoryError, ImportError, OSError):
                return False  # no heap now: a later request may find some
        return lock[2]()

    def asked() -> bool:
        if lock:
            right = lock[0]()
            if right is not None:
                return right
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
            if lock and lock[1](key[0]):
                break
        if came:
            return False
        pair = kept[_RUN] == _PAIR and kept[_LAST] == _CTRL_C and not kept[_OTHER]
        kept[_RUN] = kept[_STOPS] = 0
        return pair and granted()

    return asked
