"""What the tests of application updates share: releases, good and bad, and a patient sender."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pbal_build import build_files, compile_file
from pbal_controller.updates import Release, make
from pbal_protocol import ota, records
from pbal_sim.street import Street
from pbal_tools.release.build import version_file
from rigs.twin import FAST, Poller

BOARD = "esp32-devkitc"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
CHUNK = 200


def signed(release: Release, key: Ed25519PrivateKey = KEY) -> Release:
    """The same release with a signature."""
    return dataclasses.replace(release, signature=key.sign(ota.signed(release.digest)))


@functools.cache
def _installed() -> dict[str, bytes]:
    """A node's files, compiled once: a source that is edited while a test runs differs from nothing
    that is on a node, and is not sent.
    """
    return build_files(BOARD)


def _application(version: str) -> dict[str, bytes]:
    """What a node runs, under another version."""
    installed = _installed().items()
    files = {path.removeprefix("/lib/"): data for path, data in installed if "/lib/" in path}
    return files | {"pbal_node/version.mpy": version_file(version)}


def unsigned(version: str) -> Release:
    """The application as it is, under another version, without a signature."""
    return make(_application(version), version, [1])


def good(version: str = "0.2.0") -> Release:
    """The same, signed."""
    return signed(unsigned(version))


def changed(
    change: Callable[[dict[str, bytes]], None],
    version: str = "0.2.0",
    boards: tuple[int, ...] = (1,),
) -> Release:
    """The application with files changed by `change`, signed."""
    files = _application(version)
    change(files)
    return signed(make(files, version, list(boards)))


def module(tmp: Any, text: str, name: str) -> bytes:
    """Source as compiled module."""
    path = tmp / name.replace("/", "_")
    path.write_text(text)
    return compile_file(path, name)


def flash_files(**update: Any) -> dict[str, bytes]:
    """A node's files with a release key and quick trials."""
    files = dict(_installed())
    board = json.loads(files["/board.json"])
    board["update"] = {"key": PUBLIC.hex(), "proven_s": 2, "trial_s": 30} | update
    files["/board.json"] = json.dumps(board).encode()
    return files


class Sender:
    """Brings a release to one home by hand, as the controller does, without its rules."""

    def __init__(self, poller: Poller, home: int, release: Release) -> None:
        self.poller = poller
        self.home = home
        self.release = release
        self.stream = release.stream
        self.status: Any = None
        self.sent = 0
        self.polls = 0

    async def order(self, op: int, at: int = 0, data: bytes = b"") -> Any:
        """One Update; the status that answered, or None."""
        self.polls += 1
        got = await self.poller.poll(self.home, records.Update(op=op, at=at, data=data))
        for record in got:
            if isinstance(record, records.UpdateStatus):
                self.status = record
                return record
        await asyncio.sleep(0.1)
        return None

    async def offer(self) -> Any:
        """Offers the release."""
        data = self.release.digest + self.release.signature
        return await self.order(records.OP_OFFER, len(self.release.manifest), data)

    async def step(self) -> Any:
        """The next thing a node needs to get ahead; its status or None."""
        s = self.status
        if s is None or s.digest != self.release.digest[:8]:
            return await self.offer()
        if s.stage == records.STAGE_RECEIVING and s.want:
            piece = self.stream[s.next : s.next + min(CHUNK, s.want)]
            self.sent += len(piece)
            return await self.order(records.OP_DATA, s.next, piece)
        return await self.order(records.OP_STATUS)

    async def until(self, *stages: int, timeout_s: float = 60.0) -> Any:
        """Goes on until the node says it is at one of these stages."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            s = await self.step()
            if s is not None and s.digest == self.release.digest[:8] and s.stage in stages:
                return s
            if s is None:
                self.status = None  # silent or restarted: offer again
        raise AssertionError(f"never at {stages}: {self.status!r}")

    async def commit(self) -> None:
        """Orders the trial until the node goes for it."""
        for _ in range(40):
            s = await self.order(records.OP_COMMIT, 0, self.release.digest[:8])
            if s is not None and s.stage == records.STAGE_RESTARTING:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not committed: {self.status!r}")


async def running(poller: Poller, home: int, timeout_s: float = 30.0) -> Any:
    """The status of a node that answers again."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        for record in await poller.poll(home, records.Update(op=records.OP_STATUS)):
            if isinstance(record, records.UpdateStatus):
                return record
        await asyncio.sleep(0.1)
    raise AssertionError("the node does not answer")


__all__ = [
    "BOARD", "FAST", "KEY", "PUBLIC", "Poller", "Sender", "Street", "changed", "flash_files",
    "good", "module", "running", "signed", "unsigned",
]  # fmt: skip
