"""A folder for emulated boards, and the flash of one that has the application on it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rigs import quick
from rigs.flash import Rig

from pbal_sim.romloader import stand_in_image


@pytest.fixture(scope="session", autouse=True)
def quick_pbal() -> Iterator[quick.Quick]:
    """The rigs' `pbal` of this folder."""
    quick.shared = made = quick.Quick()
    try:
        yield made
    finally:
        quick.shared = None
        made.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A rig with the image that boards of the tests are flashed with."""
    made = Rig(tmp_path)
    (tmp_path / "image.bin").write_bytes(stand_in_image())
    yield made
    made.close()


@dataclass(frozen=True)
class FirstFlash:
    """What `pbal flash --json` said of a new board, and what is on its flash since."""

    told: Any
    err: str
    flash: Path


@pytest.fixture(scope="session")
def first_flash(tmp_path_factory: pytest.TempPathFactory) -> FirstFlash:
    """An esp32-devkitc is flashed; workers side by side do it once."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    done = folder / "flashed" / "told.json"
    with (folder / "flashed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            done.write_text(json.dumps(_flash(done.parent)))
    return FirstFlash(**json.loads(done.read_text()), flash=done.parent / "b" / "flash.bin")


@pytest.fixture(scope="session")
def flashed(first_flash: FirstFlash) -> Path:
    """What is on an esp32-devkitc after `pbal flash`."""
    return first_flash.flash


def _flash(folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / "image.bin").write_bytes(stand_in_image())
    made = Rig(folder)
    try:
        board = made.board()
        done = made.pbal(
            "flash", "-p", board.url, "-i", "image.bin", "--no-stub", "--json", timeout=230
        )
        assert done.code == 0, done.err
        return {"told": done.json, "err": done.err}
    finally:
        made.close()
