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
_AT_ONCE = const(64)  # bytes looked at in a turn: noise must not hold the application up


class Console:
    def __init__(self) -> None:
        self._before = 0
        self._there = True
        self._keys = keys = select.poll()
        keys.register(sys.stdin, select.POLLIN)

    def called(self) -> bool:
        """True when somebody asks for the prompt. What follows the request is left to the prompt:
        tools send the next thing at once.
        """
        for _ in range(_AT_ONCE):
            if not self._there or not self._keys.poll(0):
                break
            key = sys.stdin.buffer.read(1)
            if not key:
                self._there = False  # no console
                break
            if key[0] == _CTRL_C and self._before in (_ENTER, _CTRL_C):
                return True
            self._before = key[0]
        return False
