#!/usr/bin/env python3
"""The lock file: every package that an installation downloads, with the hashes of its files.

    tools/lock.py make               writes requirements.lock anew
    tools/lock.py select GROUP...    prints the entries of these groups, for pip

`requirements.lock` is made from pyproject.toml (what pbal needs), constraints.txt (the versions
it is tested with) and the SHA-256 that the package index states for each file of a version, for
all platforms and Pythons. It holds names, versions, markers and hashes, and no address. `make`
calls `uv pip compile` (python3 -m pip install uv); `select` needs nothing but Python, because
tools/bootstrap.sh runs it before anything is installed.

Before each entry a line names the groups that need it: `core` (always installed), `build` (what
compiles pbal and the packages that come as source), `stubs` (types of the ESP32 port), or an
extra of pyproject.toml.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
CONSTRAINTS = ROOT / "constraints.txt"
STUBS = ("micropython-esp32-stubs",)
OLDEST = "3.11"
_HEAD = """\
# Made by tools/lock.py from pyproject.toml and constraints.txt; do not edit.
# Each version that pbal is tested with, and the SHA-256 of every file of it. pip refuses a file
# with another hash. All of it:  pip install --require-hashes --no-deps -r requirements.lock
"""
_GROUPS = "# for: "
_KNOWN = "# groups: "
_NAME = re.compile(r"([A-Za-z0-9._-]+)==")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


class LockError(Exception):
    """What is wrong, and what to do."""


def canonical(name: str) -> str:
    """A package's name as the index compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(text: str) -> dict[str, tuple[set[str], str]]:
    """name -> (groups, the entry's lines) of a lock file's text. Raises LockError."""
    found: dict[str, tuple[set[str], str]] = {}
    groups: set[str] = set()
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith(_GROUPS):
            groups = set(line.removeprefix(_GROUPS).split())
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
        if lines and not lines[-1].endswith("\\"):
            entry = "\n".join(lines)
            name = _NAME.match(entry)
            if name is None or not groups or not _HASH.search(entry):
                raise LockError(
                    f"{LOCK.name}: not understood: {lines[0]!r}; run tools/lock.py make"
                )
            found[canonical(name[1])] = (groups, entry)
            groups, lines = set(), []
    if lines:
        raise LockError(f"{LOCK.name}: ends within {lines[0]!r}; run tools/lock.py make")
    return found


def select(text: str, wanted: set[str], heads: bool = False) -> str:
    """The entries of the groups wanted; `heads`: with the lines that name their groups.

    Raises LockError for a group the lock does not know.
    """
    found = entries(text)
    known = set(text.partition(_KNOWN)[2].partition("\n")[0].split())
    if wanted - known:
        raise LockError(
            f"{LOCK.name} knows no extra {sorted(wanted - known)[0]!r}; it knows "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    out = []
    for groups, entry in found.values():
        if groups & wanted:
            out += [f"{_GROUPS}{' '.join(sorted(groups))}"] * heads + [entry]
    return "\n".join([*out, ""])


def _compile(wanted: list[str], *extras: str) -> dict[str, str]:
    """name -> entry of what these requirements bring; without any, pbal with these extras."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST,
               "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header",
               "--no-annotate", "--no-config", "--constraint", str(CONSTRAINTS)]  # fmt: skip
    command += ["-"] if wanted else [str(ROOT / "pyproject.toml"), *extras]
    try:
        done = subprocess.run(
            command, input="\n".join(wanted), capture_output=True, text=True, check=False, cwd=ROOT
        )
    except FileNotFoundError:
        raise LockError("uv is not installed: python3 -m pip install uv") from None
    if done.returncode:
        raise LockError(f"uv pip compile failed:\n{done.stderr.strip()}")
    out: dict[str, str] = {}
    for entry in re.split(r"(?<!\\)\n", done.stdout):
        name = _NAME.match(entry)
        # pbal runs on Linux and macOS.
        if name is not None and "; sys_platform == 'win32'" not in entry:
            out[canonical(name[1])] = entry
    return out


def make() -> str:
    """The lock file's text, from pyproject.toml and constraints.txt. Raises LockError."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = {
        "build": _compile(project["build-system"]["requires"]),
        "core": _compile([]),
        "stubs": _compile(list(STUBS)),
    }
    for extra in project["project"]["optional-dependencies"]:
        brought = _compile([], "--extra", extra)
        groups[extra] = {name: brought[name] for name in brought if name not in groups["core"]}
    # The markers that hold for all groups together.
    whole = groups["build"] | groups["stubs"] | _compile([], "--all-extras")
    out = [f"{_HEAD}{_KNOWN}{' '.join(groups)}\n"]
    for name, entry in sorted(whole.items()):
        needed = sorted(group for group, brought in groups.items() if name in brought)
        out.append(f"{_GROUPS}{' '.join(needed)}\n{entry}\n")
    text = "\n".join(out)
    if "://" in text:
        raise LockError("an address would be in the lock file; name packages by version only")
    return text


def main(words: list[str]) -> int:
    """The command; returns its exit code: 0, 2 for wrong use, 4 for a LockError."""
    try:
        if words == ["make"]:
            LOCK.write_text(make(), encoding="utf-8")
            return 0
        if words[:1] == ["select"] and len(words) > 1:
            sys.stdout.write(select(LOCK.read_text(encoding="utf-8"), set(words[1:])))
            return 0
    except (LockError, OSError) as error:
        print(f"lock: {error}", file=sys.stderr)
        return 4
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
