"""Differences between the interpreters that the other modules need."""

import sys

MICROPYTHON = sys.implementation.name == "micropython"

# Decided by the interpreter, not by the import: on CPython a `micropython` module may exist too
# (Adafruit's Blinka installs one).
if MICROPYTHON:
    from micropython import const  # type: ignore[import-not-found,unused-ignore]
else:

    def const(value: int) -> int:  # type: ignore[misc,unused-ignore]
        """Return `value`; MicroPython's compiler folds the call away."""
        return value


__all__ = ["MICROPYTHON", "const"]
