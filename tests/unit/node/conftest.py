"""Runs test files on the real MicroPython interpreter: `run_mp("mp_x.py")` returns its output."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from rigs import needs

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
MP = HERE / "mp"
SOURCES = (ROOT / "protocol", ROOT / "firmware", ROOT / "bench")
VIRTUAL = MP / "virtual"  # a clock that moves only when somebody waits


def interpreter() -> str:
    """The MicroPython that was installed beside this Python."""
    return needs.require_tool("micropython", "pip install 'pbal[sim]'")


@pytest.fixture(scope="session")
def board_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every board file as JSON, as the installation writes it."""
    folder = tmp_path_factory.mktemp("boards")
    for path in (ROOT / "boards").glob("*.toml"):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        (folder / f"{path.stem}.json").write_text(json.dumps(data))
    return folder


@pytest.fixture
def run_mp(board_files: Path) -> Callable[..., str]:
    """Run one file of tests/unit/node/mp; fails with its output unless it ends with "ok".

    `virtual`: in virtual time, so that a day of the node takes seconds and no busy computer
    disturbs it.
    """

    def run(
        name: str,
        *args: str,
        heap: str = "3m",
        path: tuple[Path, ...] = (MP / "fake", MP, *SOURCES),
        virtual: bool = False,
        timeout_s: float = 500,
    ) -> str:
        folders = [".frozen", *map(str, path), *([str(VIRTUAL)] if virtual else [])]
        env = dict(os.environ, MICROPYPATH=":".join(folders))
        done = subprocess.run(
            [interpreter(), "-X", f"heapsize={heap}", name, str(board_files), *args],
            cwd=path[1],
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        text = done.stdout + done.stderr
        if done.returncode or not text.rstrip().endswith("ok"):
            pytest.fail(f"{name} on MicroPython (exit {done.returncode}):\n{text[-3000:]}")
        return text

    return run
