"""Words that programs of ours print alike."""

import contextlib
import os
import sys


def silence_stdout() -> None:
    """After standard output has failed: what is left in its buffer is let go without a word."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def counted(number: int, one: str) -> str:
    """A number of things in words: 1 home, 2 homes."""
    return f"{number} {one}" + ("" if number == 1 else "s")
