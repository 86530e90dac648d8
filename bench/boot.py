"""The cost of a start: reads of flash, allocations, collections, and an estimate for the chip.

    python -m bench.boot

Counted on the 64-bit interpreter with a flash and a file system as the chip's; no ESP32 was
available. The seconds are an estimate. The emulated chip needed 10 s from reset to the loops; the
known parts (reset, boot.py's window, collections of 12 ms, the work of loading) are subtracted, and
the rest is divided by the reads of flash that such a start made. The start as it is now is computed
with the same time per read.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pbal_build import build_files

ROOT = Path(__file__).resolve().parents[1]
MP = ROOT / "tests" / "unit" / "node" / "mp"
BOARD = "esp32-devkitc"
WIDTH = 1.45  # bytes on the 64-bit interpreter for one on the chip (tests/rigs/node_heap.py)
COLLECTION_S = 0.012  # measured on an emulated ESP32
MEASURED_S = 10.0  # there, from reset to the application's loops
RESET_S = 0.7  # there, from reset to boot.py's first lines
# The interpreter's own work: 35 million instructions for 37 modules (x86-64, valgrind), at the
# emulated chip's 125 million in a second.
MODULE_S = 35 / 37 / 125
# (window of boot.py, collections' threshold while modules are learnt, while loading)
STARTS = {"before": (1.5, 4096, 2048), "plain": (0.5, 16384, 16384), "now": (0.5, 16384, 16384)}
WORDS = {
    "before": "as it was measured",
    "plain": "without pbal_node.importer",
    "now": "now",
}


def load(folder: Path, how: str, what: str) -> dict[str, int]:
    """One start on the 64-bit interpreter; `what`: see _boot_load.py."""
    flash = folder / f"{what}-{how}"
    shutil.copytree(folder / "image", flash)
    (flash / "cfg").mkdir(parents=True)
    (flash / "cfg" / "identity.json").write_text(
        json.dumps(
            {
                "eui": "010203fffe040506",
                "site": 1,
                "address": 5,
                "root": "00" * 32,
                "group": "11" * 32,
            }
        )
    )
    (folder / "go.py").write_text("import _boot_load\n")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("micropython")),
            *("-X", "heapsize=6m", "go.py", str(folder), str(flash), how, what),
        ],
        cwd=folder,
        env=dict(os.environ, MICROPYPATH=f".frozen:{folder}:{ROOT / 'protocol'}"),
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.rstrip().endswith("ok"):
        raise SystemExit(done.stdout + done.stderr)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-2])
    return found


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory(prefix="pbal-boot-") as name:
        folder = Path(name)
        for path, data in build_files(BOARD).items():
            target = folder / "image" / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        for source in (MP / "fake" / "machine.py", MP / "support.py", ROOT / "bench/_boot_load.py"):
            shutil.copy(source, folder)
        found = {how: load(folder, how, "heap") for how in STARTS}
        for how, run in found.items():
            flash = load(folder, how, "flash")
            run["reads"], run["bytes"] = flash["reads"], flash["bytes"]
    read_s = 0.0
    print("start                       modules  flash reads    bytes  collections  estimate")
    for how, (window_s, learning, loading) in STARTS.items():
        run = found[how]
        collections = (run["learnt"] / learning + run["loaded"] / loading) / WIDTH
        known_s = RESET_S + window_s + collections * COLLECTION_S + run["modules"] * MODULE_S
        if how == "before":
            read_s = (MEASURED_S - known_s) / run["reads"]
        print(
            f"{WORDS[how]:27} {run['modules']:7} {run['reads']:12} {run['bytes']:8}"
            f" {collections:12.0f} {known_s + run['reads'] * read_s:8.1f} s"
        )
    print(f"price of a read of flash: {1000 * read_s:.2f} ms")


if __name__ == "__main__":
    main()
