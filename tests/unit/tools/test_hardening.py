"""The eFuse commands of docs/hardening.md, in their order, on esptool's virtual chips."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rigs import needs

PAGE = (needs.ROOT / "docs" / "hardening.md").read_text()
BLOCKS = re.findall(r"<!-- virtual chip: (\w+) -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
pytestmark = pytest.mark.timeout(300)
KEYS = re.search(r"```sh\n(espsecure generate-signing-key.*?)```", PAGE, re.DOTALL)


def run(line: str, chip: str, folder: Path) -> str:
    program, *arguments = shlex.split(line)
    if program == "espefuse":
        at = arguments.index("--port")
        arguments[at : at + 2] = [
            "--virt", "--path-efuse-file", str(folder / chip), "--do-not-confirm",
        ]  # fmt: skip
    tool = Path(sys.executable).with_name(program)
    done = subprocess.run(
        [str(tool), *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
    return done.stdout


@pytest.mark.parametrize(("chip", "block"), BLOCKS, ids=[chip for chip, _ in BLOCKS])
def test_the_efuse_commands_are_accepted_in_this_order(
    chip: str, block: str, tmp_path: Path
) -> None:
    pytest.importorskip("espefuse")
    assert KEYS is not None
    for line in (*KEYS[1].splitlines(), *block.splitlines()):
        out = run(line, chip, tmp_path)
        assert not line.startswith("espefuse") or "Successful" in out, out[-800:]
    shown = run(f"espefuse --chip {chip} --port PORT summary", chip, tmp_path)
    for name in re.findall(r"([A-Z][A-Z0-9_]{4,}) (?:1|7|127|0xF)\b", block):
        row = next(row for row in shown.splitlines() if row.startswith(name + " "))
        assert not re.search(r"\((0x0|0b0+)\)", row), row


def test_both_chips_of_our_boards_are_there() -> None:
    chips = {
        line.split('"')[1]
        for path in (needs.ROOT / "boards").glob("*.toml")
        for line in path.read_text().splitlines()
        if line.startswith("chip = ")
    }
    assert {chip for chip, _ in BLOCKS} == chips
