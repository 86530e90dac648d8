"""Takes protecting lines out of the source, one at a time, and tells which test goes red.

    python -m bench.removals                  all of tests/removals/*.toml
    python -m bench.removals updates          those of one file, or with the word in their rule
    python -m bench.removals --list           what there is, without running anything

Nothing of this checkout is changed: the work is done on a copy in the temporary folder. Each test
is run there first with the source as it is, where it must pass. Exit code 1 when a removal is
noticed by no test, or by another than the one that is named.

A removal is a table in a TOML file:

    [[removal]]
    rule = "one try of the secret for each start"   what is protected
    file = "firmware/boot.py"
    text = "..."       stands in the file once
    becomes = "..."    what stands there without the protection
    test = "tests/..." as pytest takes it, from the checkout's root
    by = "..."         the scenario that must fail, where one test runs many
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLES = Path("tests") / "removals"
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "build", "dist")
_PASSED, _FAILED = 0, 1  # pytest's exit codes; any other says that nothing was tested
_TAIL = 2000  # characters of a run's output that are shown when it went wrong


@dataclass(frozen=True)
class Removal:
    """One protecting line, what becomes of it, and the test that must notice."""

    rule: str
    file: str
    text: str
    becomes: str
    test: str
    by: str = ""

    def applied(self, source: str) -> str:
        """The source without the protection. Raises ValueError: it is not there once."""
        found = source.count(self.text)
        if found != 1:
            raise ValueError(f"{self.rule}: its text stands {found} times in {self.file}, not once")
        without = source.replace(self.text, self.becomes)
        if self.file.endswith(".py"):
            ast.parse(without)  # what cannot be loaded fails every test and proves nothing
        return without


def load() -> dict[str, list[Removal]]:
    """All removals by the name of their file."""
    return {
        path.stem: [Removal(**entry) for entry in tomllib.loads(path.read_text())["removal"]]
        for path in sorted((ROOT / TABLES).glob("*.toml"))
    }


def _rooms(root: Path) -> dict[str, Path]:
    """Where each top-level package lies, as in setup.py."""
    rooms = {path.name: path for path in root.glob("*/pbal_*") if path.is_dir()}
    return rooms | {"pbal_boards": root / "boards", "pbal_firmware": root / "firmware"}


class Copy:
    """A copy of the checkout in which tests run against its own source."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "copy"
        shutil.copytree(ROOT, self.root, ignore=_LEFT_OUT, symlinks=True)
        (self.root / ".venv").symlink_to(ROOT / ".venv")
        # Before the installation, which points to the checkout.
        path = folder / "path"
        path.mkdir()
        for name, where in _rooms(self.root).items():
            (path / name).symlink_to(where)
        self._environ = os.environ | {
            "PYTHONPATH": str(path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PBAL_LONG": "1",
        }

    def run(self, test: str) -> tuple[int, str]:
        """pytest's exit code and what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test],
            cwd=self.root,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def without(self, removal: Removal) -> Iterator[None]:
        """The copy while one protection is gone."""
        path = self.root / removal.file
        before = path.read_text(encoding="utf-8")
        path.write_text(removal.applied(before), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")


def judge(removal: Removal, code: int, said: str) -> str:
    """What is wrong with how a removal was noticed; empty when it was noticed as it must be."""
    if code == _PASSED:
        return "NOTICED BY NO TEST"
    if code != _FAILED:
        return f"NOT TESTED (pytest's exit code {code})"
    if removal.by and not re.search(rf"\bin {re.escape(removal.by)}\b", said):
        return f"NOTICED, but not by {removal.by}"
    return ""


def play(copy: Copy, removals: list[Removal]) -> int:
    """Runs all of them and prints a line each; how many went wrong."""
    sound: dict[str, bool] = {}
    wrong = 0
    for removal in removals:
        if removal.test not in sound:
            code, said = copy.run(removal.test)
            sound[removal.test] = code == _PASSED
            if code != _PASSED:
                print(f"{removal.test} does not pass as it is:\n{said[-_TAIL:]}", flush=True)
        if not sound[removal.test]:
            wrong += 1
            print(f"NOT TESTED  {removal.rule}", flush=True)
            continue
        began = time.monotonic()
        with copy.without(removal):
            code, said = copy.run(removal.test)
        why = judge(removal, code, said)
        wrong += bool(why)
        name = removal.by or removal.test.rpartition("/")[2]
        took = time.monotonic() - began
        print(f"{why or 'noticed'}  {removal.rule}  [{name}, {took:.0f} s]", flush=True)
        if why and code != _PASSED:
            print(said[-_TAIL:], flush=True)
    return wrong


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("word", nargs="?", default="", help="a table's name, or a word of a rule")
    parser.add_argument("--list", action="store_true", help="tell what there is, run nothing")
    options = parser.parse_args()
    tables = load()
    chosen = tables.get(options.word) or [
        removal for table in tables.values() for removal in table if options.word in removal.rule
    ]
    if not chosen:
        parser.error(f"no removal has {options.word!r} in its rule; tables: {', '.join(tables)}")
    if options.list:
        for name, table in tables.items():
            print(f"{name}: {len(table)}")
        for removal in chosen:
            print(f"  {removal.rule}: {removal.file}, {removal.by or removal.test}")
        return 0
    for removal in chosen:
        removal.applied((ROOT / removal.file).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="pbal-removals-") as folder:
        wrong = play(Copy(Path(folder)), chosen)
    print(f"{len(chosen) - wrong} of {len(chosen)} removals were noticed by the test that is named")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
