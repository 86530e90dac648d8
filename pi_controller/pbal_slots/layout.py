"""Slots on the disk: `/opt/pbal-VERSION`, and `/opt/pbal`, the link to the one in use.

A slot is whole or not there: it is filled beside its place and renamed. The link is replaced by a
rename, so that at every instant, also of a power cut, it points to one slot.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

BUILD = ".pbal-build"  # what a slot's content is, one line
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~-]{0,63}")


class SlotError(Exception):
    """What is wrong with a slot, and what to do."""


def sync(path: Path) -> None:
    """A file's content, or a folder's entries, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, text: str) -> None:
    """The file holds this text, on the disk, or what it held before."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    sync(fresh)
    fresh.replace(path)
    sync(path.parent)


def _link_or_copy(source: str, target: str) -> None:
    """A second name of the same file, where both are on one file system: it takes no space."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _build(slot: Path) -> str:
    try:
        return (slot / BUILD).read_text(encoding="ascii").strip()
    except OSError:
        return ""


class Slots:
    """The slots under one folder."""

    def __init__(
        self, root: Path, name: str = "pbal", step: Callable[[str], None] = lambda _: None
    ) -> None:
        """`step` is called with a word before each change of the disk: tests end there."""
        self.root = root
        self.link = root / name
        self._prefix = f"{name}-"
        self._step = step

    def path(self, version: str) -> Path:
        """Where a version's slot is or would be. Raises SlotError: that is no version."""
        if not _VERSION.fullmatch(version):
            raise SlotError(f"{version!r} is no version, such as 0.2.0")
        return self.root / f"{self._prefix}{version}"

    def versions(self) -> list[str]:
        """The versions that are there and whole."""
        found = self.root.glob(f"{self._prefix}*")
        return sorted(p.name.removeprefix(self._prefix) for p in found if _build(p))

    def current(self) -> str:
        """The version in use; empty when there is none."""
        try:
            name = os.readlink(self.link)
        except OSError:
            return ""
        return Path(name).name.removeprefix(self._prefix)

    def add(self, payload: Path, version: str) -> str:
        """Put a version in place; returns its slot's name, VERSION or VERSION.DIGEST.

        The longer one where VERSION is there with another content. Raises SlotError.
        """
        build = _build(payload)
        if not build:
            raise SlotError(f"{payload}: no environment of the controller ({BUILD} is not there)")
        slot = self.path(version)
        if slot.exists() and _build(slot) != build:
            version = f"{version}.{build[:8]}"
            slot = self.path(version)
        if _build(slot) == build:
            return version
        fresh = self.root / f".{slot.name}.new"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for left in (fresh, slot):
                if left.exists():
                    shutil.rmtree(left)
            self._step("copying")
            shutil.copytree(payload, fresh, symlinks=True, copy_function=_link_or_copy)
            os.sync()
            self._step("copied")
            fresh.rename(slot)
            sync(self.root)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise SlotError(f"{slot}: cannot be made ({error}); make room on its disk") from None
        return version

    def use(self, version: str) -> None:
        """This version from the next start on. Raises SlotError: it is not there."""
        slot = self.path(version)
        # One that was installed by hand has no mark; it is used, and never pruned.
        if not _build(slot) and not (slot / "bin" / "pbal-controller").exists():
            there = ", ".join(self.versions()) or "none"
            raise SlotError(f"version {version} is not here; these are: {there}")
        if self.link.exists() and not self.link.is_symlink():
            raise SlotError(f"{self.link} is no link; move it away")
        fresh = self.root / f".{self.link.name}.link"
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        fresh.symlink_to(slot.name)
        self._step("switching")
        fresh.replace(self.link)
        sync(self.root)
        self._step("switched")

    def remove(self, version: str) -> None:
        """Take a version away that is not in use."""
        if version == self.current():
            raise SlotError(f"version {version} is in use")
        # Without these it is no slot any more, however far the removal comes.
        for name in ("bin/pbal-controller", BUILD):
            with contextlib.suppress(FileNotFoundError):
                (self.path(version) / name).unlink()
        shutil.rmtree(self.path(version), ignore_errors=True)

    def prune(self, keep: set[str]) -> list[str]:
        """Take away all but these and the one in use; returns what went."""
        gone = [v for v in self.versions() if v not in keep and v != self.current()]
        for version in gone:
            self.remove(version)
        for left in self.root.glob(f".{self._prefix}*.new"):
            shutil.rmtree(left, ignore_errors=True)
        return gone

    def remove_all(self) -> None:
        """No slot and no link is left."""
        if self.link.is_symlink():
            self.link.unlink()
        self.prune(set())
