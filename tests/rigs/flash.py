"""What the flash and provision tests share: emulated boards, and the real `pbal` command."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbal_sim.chipstate import DEAF
from pbal_sim.replboard import ReplBoard
from rigs import needs, quick


@dataclass
class Ran:
    """A finished `pbal` command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Rig:
    """A folder for boards, and commands that remember nothing outside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boards: list[ReplBoard] = []

    def board(self, name: str = "b", like: Path | None = None, **options: Any) -> ReplBoard:
        """An emulated board; `like` is a flash to start from."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        if like is not None:
            shutil.copy(like, home / "flash.bin")
        board = ReplBoard(home, **options)
        self.boards.append(board)
        return board

    def close(self) -> None:
        for board in self.boards:
            board.close()

    def start(self, *args: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """`pbal` as a person starts it."""
        return subprocess.Popen(
            [needs.require_tool("pbal"), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=self._surroundings(env),
            cwd=self.folder,
        )

    def _surroundings(self, env: dict[str, str] | None) -> dict[str, str]:
        return {
            **quick.BARE,
            "HOME": str(self.folder),
            "PBAL_BOARD": "esp32-devkitc",
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            **(env or {}),
        }

    def pbal(self, *args: str, env: dict[str, str] | None = None, timeout: float = 110) -> Ran:
        """What it says and how it ends, without its start where there is a `quick.shared`."""
        if quick.shared is not None:
            return Ran(*quick.shared.run(args, self._surroundings(env), self.folder, timeout))
        process = self.start(*args, env=env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return Ran(process.returncode, out, err)


def mpremote(port: str, *words: str) -> str:
    """The real mpremote, as a person would use it."""
    done = subprocess.run(
        [needs.require_tool("mpremote"), "connect", port, "resume", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env={**os.environ, "XDG_CONFIG_HOME": "/nonexistent"},
    )
    return done.stdout


def runs(board: ReplBoard) -> bool:
    """The application has taken the watchdog over from boot.py's timer."""
    state = board.state
    return state.mode == DEAF and state.watched and not state.timed


def wait_for(what: str, true: Callable[[], object], within_s: float = needs.PATIENCE_S) -> None:
    """Until `true()`; fails with `what` was waited for."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)
