"""Fills the spare slot with a release whose signature was checked; a part of update.py.

Loaded after the check, when the checking code is unloaded, and unloaded when the slot is filled or
the update is given up: a node's heap never holds both.
"""

import asyncio
import hashlib
import os

from micropython import const

from pbal_node import slots
from pbal_node.slots import Refused
from pbal_node.store import makedirs
from pbal_node.version import VERSION_CODE
from pbal_protocol import ota

_TRIES = const(3)
_SPARE_BYTES = const(65536)  # flash that must stay free for settings, events, a log

# Numbers as in pbal_protocol.names.
_STAGE_CHECKING = const(1)
_WHY_MANIFEST = const(3)
_WHY_BOARD = const(4)
_WHY_VERSION = const(5)
_WHY_SPACE = const(6)
_WHY_HASH = const(7)
_WHY_FLASH = const(8)


def size_of(path: str) -> int:
    """Bytes of a file, -1 when there is none."""
    try:
        return os.stat(path)[6]
    except OSError:
        return -1


def is_folder(path: str) -> bool:
    try:
        return bool(os.stat(path)[0] & 0x4000)
    except OSError:
        return False


def wipe(path: str):
    """Generator: removes a folder and all below it, one file per step."""
    try:
        found = list(os.ilistdir(path))
    except OSError:
        return
    for item in found:
        name = path + "/" + item[0]
        if item[1] == 0x4000:
            yield from wipe(name)
        else:
            os.remove(name)
        yield
    os.rmdir(path)


class Delivery:
    """Work for one order. `updater` has the offer and the position in the stream."""

    def __init__(self, updater) -> None:
        self._u = updater

    async def fill(self) -> int:
        """All of the release is in the slot, hashed; the version that it is. Raises Refused,
        BadValue for a manifest that is none, OSError for the flash.
        """
        u = self._u
        if not u.slots.give_back(u.slot):
            raise Refused(_WHY_FLASH)
        await self._prepare()
        await self._file("manifest", u.size, u.digest, 0)
        head = await self._head()
        at = u.size
        with open(u.folder + "/manifest") as lines:
            for line in lines:
                line = line.rstrip()
                if len(line) < 64 or line.count(" ") != 2:
                    continue
                digest, size, path = ota.entry(line)
                await self._file(path, size, bytes.fromhex(digest), at)
                at += size
        if at != u.size + head.size:
            raise Refused(_WHY_MANIFEST)
        u.next = at
        return head.version

    async def empty(self) -> None:
        """Empty the spare slot; the note of its release is removed first."""
        u = self._u
        if not u.slots.give_back(u.slot):
            raise Refused(_WHY_FLASH)
        try:
            os.remove(u.folder + "/offer")
        except OSError:
            pass
        for _ in wipe(u.folder):
            await asyncio.sleep_ms(5)

    async def _prepare(self) -> None:
        """The spare slot belongs to this update: as it was left, or empty."""
        u = self._u
        note = u.folder + "/offer"
        try:
            with open(note, "rb") as f:
                if f.read() == u.digest:
                    return
        except OSError:
            pass
        await self.empty()
        makedirs("/app")
        makedirs(u.folder)
        with open(note, "wb") as f:
            f.write(u.digest)

    async def _head(self):
        """What the manifest says. Refused when this node must not run it."""
        head = ota.Head()
        with open(self._u.folder + "/manifest") as lines:
            for line in lines:
                if not head.line(line.rstrip()):
                    break
        if self._u.board_id not in head.boards:
            raise Refused(_WHY_BOARD)
        if head.version <= VERSION_CODE and not head.downgrade:
            raise Refused(_WHY_VERSION)
        if head.version < slots.minimum():
            raise Refused(_WHY_VERSION)  # also as a downgrade: its flaws are known
        fs = os.statvfs("/")
        if fs[0] * fs[3] < head.size + 4096 * head.files + _SPARE_BYTES - self._used():
            raise Refused(_WHY_SPACE)
        return head

    def _used(self) -> int:
        """Bytes of the update that are on flash already, roughly: to compare with free space."""
        total = 0
        stack = [self._u.folder]
        while stack:
            folder = stack.pop()
            for item in os.ilistdir(folder):
                if item[1] == 0x4000:
                    stack.append(folder + "/" + item[0])
                else:
                    total += 4096 + (item[3] if len(item) > 3 else 0)
        return total

    # files -------------------------------------------------------------------------------------

    async def _hash(self, path: str) -> bytes:
        h = hashlib.sha256()
        buf = self._u.buf  # empty whenever a file is read
        view = memoryview(buf)
        with open(path, "rb") as f:
            while True:
                n = f.readinto(buf)
                if not n:
                    return h.digest()
                h.update(view[:n])
                await self._u.breathe()

    async def _file(self, path: str, size: int, digest: bytes, at: int) -> None:
        """Returns when the file is in the slot and what the manifest says."""
        self._u.stage = _STAGE_CHECKING
        target = self._u.folder + "/" + path
        if is_folder(target):  # a manifest that was cut in a path can name one
            raise Refused(_WHY_MANIFEST)
        if size_of(target) < size:
            self._u.slots.stats.wrote(1 + size // 4096)
        if size_of(target) <= 0:  # a copy that was ended by a power cut is empty
            self._folders(path)
            await self._copy(path, size, digest, target)
        for _ in range(_TRIES):
            have = size_of(target)
            if have > size:
                os.remove(target)
                have = 0
            if have < size or have < 0:
                await self._receive(target, max(have, 0), size, at)
            if await self._hash(target) == digest:
                return
            os.remove(target)
        raise Refused(_WHY_MANIFEST if at == 0 else _WHY_HASH)

    def _folders(self, path: str) -> None:
        at = path.find("/")
        while at > 0:
            makedirs(self._u.folder + "/" + path[:at])
            at = path.find("/", at + 1)

    async def _copy(self, path: str, size: int, digest: bytes, target: str) -> None:
        """Take the file from the application that runs, or the factory's, if it is the same."""
        u = self._u
        for folder in (slots.folder(u.slots.running), "/lib"):
            source = folder + "/" + path
            if size_of(source) == size and await self._hash(source) == digest:
                buf = u.buf
                view = memoryview(buf)
                with open(source, "rb") as f, open(target, "wb") as out:
                    while True:
                        n = f.readinto(buf)
                        if not n:
                            return
                        out.write(view[:n])
                        await u.breathe()

    async def _receive(self, target: str, have: int, size: int, at: int) -> None:
        """Append what comes until the file has its size."""
        u = self._u
        u.fill = 0
        u.next = at + have
        u.want = size - have
        view = memoryview(u.buf)
        if have == 0:
            with open(target, "wb"):
                pass
        while u.want:
            await u.more()
            if u.fill:
                with open(target, "ab") as f:
                    f.write(view[: u.fill])
                u.fill = 0
