"""What a start costs: allocations, collections, bytes loaded, and what that may mean on the chip.

    python -m bench.boot

Counted on the 64-bit interpreter; no ESP32 was at hand. The seconds are an estimate: the emulated
chip needed 10 s from reset to the loops, in which collections took 12 ms each; what was left is
laid on the bytes loaded, and the same prices are put on the start as it is now.
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
# (window of boot.py, collections' threshold while loading, while building)
BEFORE = (1.5, 4096, 2048)
NOW = (0.5, 16384, 16384)


def load(folder: Path, how: str) -> dict[str, object]:
    """One start on the 64-bit interpreter."""
    flash = folder / f"flash-{how}"
    (flash / "cfg").mkdir(parents=True)
    (flash / "cfg" / "identity.json").write_text(
        json.dumps(
            {"eui": "00" * 8, "site": 1, "address": 5, "root": "00" * 32, "group": "11" * 32}
        )
    )
    (folder / "go.py").write_text("import _boot_load\n")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("micropython")),
            *("-X", "heapsize=3m", "go.py", str(folder / "boards"), str(flash), how),
        ],
        cwd=folder,
        env=dict(os.environ, MICROPYPATH=f".frozen:{folder}:{folder / 'lib'}"),
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.rstrip().endswith("ok"):
        raise SystemExit(done.stdout + done.stderr)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-2])
    return found


def main() -> None:
    """Prints the table."""
    files = build_files(BOARD)
    with tempfile.TemporaryDirectory(prefix="pbal-boot-") as name:
        folder = Path(name)
        for path, data in files.items():
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (folder / "boards").mkdir()
        (folder / "boards" / f"{BOARD}.json").write_bytes(files["/board.json"])
        for source in (MP / "fake" / "machine.py", MP / "support.py", ROOT / "bench/_boot_load.py"):
            shutil.copy(source, folder)
        found = {how: load(folder, how) for how in ("before", "now")}
    size = {p.removeprefix("/lib/"): len(d) for p, d in files.items() if p.startswith("/lib/")}

    def code(modules: object) -> int:
        assert isinstance(modules, list)
        paths = [m.replace(".", "/") for m in modules if m.startswith("pbal_")]
        return sum(size.get(p + end, 0) for p in paths for end in (".mpy", ".py"))

    rest_s_per_byte = 0.0
    print("start    loaded   allocated  collections  estimate")
    for how, (window_s, loading, building) in (("before", BEFORE), ("now", NOW)):
        run = found[how]
        learnt, kept = run["modules"]  # type: ignore[misc]
        loaded = code(learnt) + code(kept)
        first = int(str(run["learnt"])) / WIDTH / loading
        collections = first + int(str(run["loaded"])) / WIDTH / building
        allocated = int(str(run["learnt"])) + int(str(run["loaded"]))
        fixed_s = RESET_S + window_s + collections * COLLECTION_S
        if how == "before":
            rest_s_per_byte = max(0.0, MEASURED_S - fixed_s) / loaded
        seconds = fixed_s + loaded * rest_s_per_byte
        print(
            f"{how:7} {loaded:7} B {allocated:9} B {collections:11.0f} {seconds:8.1f} s"
            + (" (measured: the price of a byte follows)" if how == "before" else "")
        )


if __name__ == "__main__":
    main()
