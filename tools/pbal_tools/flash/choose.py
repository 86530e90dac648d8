"""What `pbal flash` asks for where no option says it: which board, and which image file."""

import sys
from pathlib import Path

from pbal_build import CHIPS, Board

from ..board import model
from ..errors import CliError, InputError
from . import image as images

FOLDERS = (Path(), Path.home() / "Downloads")
MOST = 9


def _interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _answer(words: str) -> str:
    print(words, end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def board(json_output: bool) -> str:
    """The board's name, asked for on the terminal. Raises InputError where no person can be asked.

    Boards with one chip differ in their wiring: the wrong file would drive the wrong pins, so
    none is taken unasked.
    """
    names = model.names()
    if json_output or not _interactive():
        raise InputError(
            "Which board is it?", f"Say --board NAME (or PBAL_BOARD=NAME): {', '.join(names)}."
        )
    print("Which board is plugged in?", file=sys.stderr)
    for number, name in enumerate(names, 1):
        print(f"  {number}  {name:<22} {model.load(name).board.description}", file=sys.stderr)
    while True:
        told = _answer(f"1-{len(names)} or a name:")
        if told in names:
            return told
        if told.isdecimal() and 1 <= int(told) <= len(names):
            return names[int(told) - 1]
        if not told:
            raise InputError("No board was named.", "Say --board NAME, or answer.")
        print(f"  {told!r} is not in the list", file=sys.stderr)


def image(data: Board, pins: Path, json_output: bool) -> str:
    """An image file that is here and fits the board, offered on the terminal; "" for none.

    Nothing is offered where an image is pinned, or where no person can be asked.
    """
    pinned = data.board.name in images.load_pins(pins)
    if pinned or (data.flash is not None and data.flash.image_url):
        return ""
    if json_output or not _interactive():
        return ""
    fitting = _fitting(data)
    if not fitting:
        return ""
    print(f"MicroPython images here that fit the {data.board.name}:", file=sys.stderr)
    for number, found in enumerate(fitting, 1):
        print(f"  {number}  {found.path}  SHA-256 {found.sha256[:16]}...", file=sys.stderr)
    told = _answer(f"1-{len(fitting)}, or empty for none:")
    if told.isdecimal() and 1 <= int(told) <= len(fitting):
        return str(fitting[int(told) - 1].path)
    return ""


def _fitting(data: Board) -> list[images.Image]:
    chip = CHIPS[data.board.chip]
    found = []
    for folder in FOLDERS:
        for path in sorted(folder.glob("*.bin")):
            try:
                image = images.check(path, chip, data.board.flash_mb << 20)
            except CliError:
                continue
            if image.micropython:
                found.append(image)
    return found[:MOST]
