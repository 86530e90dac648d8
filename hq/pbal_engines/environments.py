"""An environment of Python of its own for an engine of Python: never the one that pbal runs in.

`artifacts/NAME.in` says what was wanted; `artifacts/NAME.txt`, in pip's own form, lists every
package that comes with it, with its version and the hashes of its files. Nothing else is fetched.
The address of the index is pip's own configuration's. `python -m pbal_engines.relist NAME` makes
the list anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pbal_engines.artifacts import FOLDER, alone, cache
from pbal_engines.errors import BadArtifact, Missing

_INSTALL_S = 1200.0
# What packages that come as source are built with.
BUILDERS = ("packaging", "setuptools", "wheel")
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==")


def listing(name: str) -> str:
    """The list of this name. Raises Missing."""
    try:
        return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Missing(f"there is no list of packages {name} in {FOLDER}") from None


def find_python(oldest: tuple[int, int], newest: tuple[int, int]) -> str:
    """A Python of these versions: PBAL_ENGINES_PYTHON, ours, or one on PATH. Raises Missing."""
    own = os.environ.get("PBAL_ENGINES_PYTHON")
    minors = range(newest[1], oldest[1] - 1, -1)
    found = [own] if own else [sys.executable, *(f"python{oldest[0]}.{n}" for n in minors)]
    for each in found:
        program = shutil.which(each)
        if program is not None and oldest <= _version(program) <= newest:
            return program
    raise Missing(
        f"a Python from {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]} is needed"
        + (f", and PBAL_ENGINES_PYTHON is {own}" if own else "; name it in PBAL_ENGINES_PYTHON")
    )


def _version(program: str) -> tuple[int, int]:
    asked = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run(
        [program, "-c", asked], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    words = done.stdout.split()
    return (int(words[0]), int(words[1])) if done.returncode == 0 and len(words) == 2 else (0, 0)


def environment(
    name: str, *, oldest: tuple[int, int] = (3, 11), newest: tuple[int, int] = (3, 12)
) -> Path:
    """The folder of this environment: made where it is not there yet, each file by its hash.

    Two processes may call it at once. Raises Missing and BadArtifact.
    """
    text = listing(name)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = cache() / f"{name}-{digest}"
    whole = folder / "whole"  # written last: an installation that was cut short is made again
    if not whole.exists():
        with alone(cache() / f"{name}.lock"):
            if not whole.exists():
                _make(find_python(oldest, newest), text, folder)
                whole.touch()
    return folder


def _make(python: str, text: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run(
        [python, "-m", "venv", folder], capture_output=True, text=True, timeout=_INSTALL_S,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise Missing(
            f"{python} makes no environments (on Debian: python3-venv): {done.stdout.strip()}"
        )
    builders, others = split(text)
    for each in (builders, others):
        if each:
            _install(folder, each)


def split(text: str) -> tuple[str, str]:
    """A list in two: what builds packages, and all others."""
    parts: tuple[list[str], list[str]] = ([], [])
    for entry in re.split(r"(?<!\\)\n", text):
        if match := _ENTRY.match(entry):
            parts[match[1].lower().replace("_", "-") not in BUILDERS].append(entry)
    builders, others = ("\n".join([*part, ""]) if part else "" for part in parts)
    return builders, others


def _install(folder: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        words: Sequence[str | Path] = (
            folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile",
            "--disable-pip-version-check", "--no-deps", "--require-hashes", "--no-build-isolation",
            "-r", file.name,
        )  # fmt: skip
        try:
            done = subprocess.run(
                words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                timeout=_INSTALL_S, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Missing(
                f"pip did not install {folder.name} within {_INSTALL_S:.0f} s; run it again"
            ) from None
    if not done.returncode:
        return
    said = done.stdout.strip()[-2000:]
    if "DO NOT MATCH THE HASHES" in said:
        raise BadArtifact(f"what was fetched is not what was tested: do not use it.\n{said}")
    raise Missing(f"pip could not install {folder.name}; is the network there?\n{said}")
