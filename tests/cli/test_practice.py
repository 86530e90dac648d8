"""What a crew practises on: started as the documents say, used with the real commands."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rigs import needs

pytestmark = [pytest.mark.twin, pytest.mark.timeout(240)]


def surroundings(folder: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "120", "TERM": "dumb"}


@contextmanager
def practice(folder: Path, *words: str) -> Iterator[list[str]]:
    """The command while it runs; its lines up to the one that says how it ends."""
    process = subprocess.Popen(
        [needs.require_tool("pbal"), "sim", *words], cwd=folder, env=surroundings(folder),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("Ctrl-C"):
                break
        assert lines[-1].startswith("Ctrl-C"), lines
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(needs.PATIENCE_S)
    assert code == 0


def pbal(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [needs.require_tool("pbal"), *words], cwd=folder, env=surroundings(folder),
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip


def test_a_board_is_flashed_and_provisioned_by_the_commands_that_are_printed(
    tmp_path: Path,
) -> None:
    with practice(tmp_path, "board") as lines:
        told = [line for line in lines if line.startswith("pbal ")]
        assert [line.split()[1] for line in told] == ["flash", "provision", "provision", "node"]
        for line in told[:3]:
            done = subprocess.run(
                ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=150,
                check=False,
                env={**surroundings(tmp_path),
                     "PATH": f"{Path(needs.require_tool('pbal')).parent}:{os.environ['PATH']}"},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        assert "proven by the node" in done.stdout
    again = pbal(tmp_path, "sim", "board")
    assert again.returncode == 3
    assert "exists already" in again.stderr


def test_a_street_is_scanned(tmp_path: Path) -> None:
    with practice(tmp_path, "street", "--practice", "--homes", "2", "--swapped", "2"):
        folder = tmp_path / "practice-street"
        end = time.monotonic() + 60
        while True:  # homes boot one after the other
            done = pbal(folder, "commission", "scan", "site.toml", "--units", "1-3")
            if "does not answer" not in done.stdout or time.monotonic() > end:
                break
        assert done.returncode == 0, done.stderr
        assert "home 01" in done.stdout
        assert done.stdout.count("no keys") == 1
