"""The serial console while the application runs.

Ctrl-C raises nothing in the application (boot.py, main.py): it is looked for here, between two
turns, where the program can stop with its contacts known. Enter and Ctrl-C, or Ctrl-C twice, ask
for the prompt; one byte alone may be noise.
"""

import select
import sys

from micropython import const

_CTRL_C = const(3)
_ENTER = const(13)
_GONE = const(256)  # there is no console
_AT_ONCE = const(64)  # bytes looked at in a turn: noise must not hold the application up


def console():
    """A function that is true when somebody asks for the prompt. What follows the request is left
    to the prompt: tools send the next thing at once.
    """
    keys = select.poll()
    keys.register(sys.stdin, select.POLLIN)
    last = [0]  # what came last; a list, and no object, as names stay in the heap for ever

    def asked() -> bool:
        for _ in range(_AT_ONCE):
            if last[0] == _GONE or not keys.poll(0):
                break
            key = sys.stdin.buffer.read(1)
            if not key:
                last[0] = _GONE
                break
            if key[0] == _CTRL_C and last[0] in (_ENTER, _CTRL_C):
                return True
            last[0] = key[0]
        return False

    return asked
