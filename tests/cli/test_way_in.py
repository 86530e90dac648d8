"""Ctrl-C, noise and a cut line at any moment: the node ends safe or runs on, never neither.

An emulated board with the supply of a home: the node closes a contact, and then somebody comes.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from rigs import needs
from rigs.flash import Rig, mpremote, runs, wait_for

from pbal_sim.chipstate import DEAF, PROMPT
from pbal_sim.replboard import ReplBoard
from pbal_tools.flash.repl import reach_prompt

pytestmark = [pytest.mark.timeout(240), pytest.mark.keeps_processes]
COILS = (18, 19, 23)
_PHASES = [(0.575, 0.0), (0.575, -120.0), (0.575, 120.0)]  # 230 V behind the front end
SUPPLY = {
    **dict(zip((36, 39, 34), _PHASES, strict=True)),
    35: dict(zip(COILS, _PHASES, strict=True)),
}
PBAL = b"\r\x03\x03"  # every 0.2 s
MPREMOTE = b"\r\x03"  # once


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, flashed: Path
) -> Iterator[tuple[Rig, ReplBoard]]:
    """A board with the node on it that returns after an outage without a random delay."""
    rig = Rig(tmp_path_factory.mktemp("node"))
    board = rig.board(like=flashed, analog=SUPPLY, download=False)
    try:
        reach_prompt(board.url, 60)
        table = json.loads(mpremote(board.url, "fs", "cat", ":/board.json"))
        table["config"] = {"return_spread_ms": 0}
        (rig.folder / "board.json").write_text(json.dumps(table))
        mpremote(board.url, "fs", "cp", str(rig.folder / "board.json"), ":/board.json")
        yield rig, board
    finally:
        rig.close()


def closed(board: ReplBoard) -> list[int]:
    """The coils that are driven."""
    return [pin for pin in COILS if board.state.pin(pin)]


def safe_at_the_prompt(board: ReplBoard) -> None:
    """No contact closed, and a watchdog that a timer feeds: it does not stay for ever."""
    assert closed(board) == []
    assert board.state.watched
    assert board.state.timed


def ask(board: ReplBoard, words: bytes, every_s: float = 0.0) -> None:
    """Sends `words`, again and again if told to, until the prompt is there."""
    line = serial.Serial(board.url, 115200, timeout=0)
    try:
        end = time.monotonic() + needs.PATIENCE_S
        again = 0.0
        while board.state.mode != PROMPT:
            assert time.monotonic() < end, "no prompt"
            if time.monotonic() >= again:
                line.write(words)
                again = time.monotonic() + (every_s or 3600)
            line.read(4096)
            time.sleep(0.01)
        # What comes after the prompt is there must not undo it.
        for _ in range(3):
            line.write(words)
            time.sleep(0.05)
        safe_at_the_prompt(board)
    finally:
        line.close()


def test_a_closed_contact_is_open_at_the_prompt(node: tuple[Rig, ReplBoard]) -> None:
    _, board = node
    for words, every_s in ((PBAL, 0.2), (MPREMOTE, 0.0)):
        board.press_reset()
        wait_for("a contact closes", lambda: closed(board))
        assert runs(board)
        resets = board.resets
        ask(board, words, every_s)
        assert board.resets == resets, "the watchdog had to help"


def test_ctrl_c_at_any_moment_of_a_start(node: tuple[Rig, ReplBoard]) -> None:
    """From the first instruction over boot.py, the choice of the slot and loading to the loops."""
    _, board = node
    moments = random.Random(5)
    for n in range(16):
        board.press_reset()
        time.sleep(0.1 * n + moments.random() / 10)
        ask(board, PBAL, 0.2)


def test_noise_keeps_no_node_from_starting(node: tuple[Rig, ReplBoard]) -> None:
    _, board = node
    line = serial.Serial(board.url, 115200, timeout=0)
    try:
        for noise in (b"\xc3", b"\xff" * 30, b"a", b"\x03", b"\r", b"\xe2\x82\r", b"\x01\x04"):
            board.press_reset()
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                if board.state.mode == DEAF:
                    line.write(noise)
                    break
                time.sleep(0.005)
            wait_for(f"it runs after {noise!r}", lambda: runs(board))
    finally:
        line.close()


def test_the_tools_take_a_running_node(node: tuple[Rig, ReplBoard]) -> None:
    rig, board = node
    board.press_reset()
    wait_for("a contact closes", lambda: closed(board))
    assert mpremote(board.url, "exec", "print(6 * 7)").strip() == "42"
    safe_at_the_prompt(board)
    board.press_reset()
    wait_for("a contact closes", lambda: closed(board))
    resets = board.resets
    done = rig.pbal("flash", "--port", board.url, "--app-only", "--json")
    assert done.code == 0, done.err
    assert "resetting the board" not in done.err
    assert done.json["boards"][0]["files"]["copied"][-1] == "/main.py"  # the board file differed
    assert board.resets > resets
    wait_for("it runs again", lambda: runs(board))


def test_a_wait_after_many_crashes_can_be_ended(node: tuple[Rig, ReplBoard]) -> None:
    """Not even safe mode runs: the node waits, its console open."""
    rig, board = node
    board.press_reset()
    ask(board, PBAL, 0.2)
    (rig.folder / "broken.py").write_text("raise ValueError('broken')\n")
    mpremote(board.url, "fs", "cp", str(rig.folder / "broken.py"), ":/lib/pbal_node/build.py")
    mpremote(board.url, "fs", "rm", ":/lib/pbal_node/build.mpy")
    resets = board.resets
    board.press_reset()
    wait_for("five crashes", lambda: board.resets >= resets + 5)
    resets = board.resets
    wait_for("it waits", lambda: board.state.mode == DEAF and board.state.watched)
    time.sleep(2.5)
    assert board.state.mode == DEAF
    assert board.state.watched
    ask(board, PBAL, 0.2)
    assert board.resets == resets, "the wait is ended, not outlasted"
