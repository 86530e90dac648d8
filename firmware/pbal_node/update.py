"""Takes an application update from the controller into the spare slot (docs/ota.md).

The controller offers a signed manifest; the signature is checked first, with the release key the
node was provisioned with, and nothing unsigned reaches the flash. Then the node asks, by the
`next` and `want` of its status, for the bytes it does not have: files that the running
application has unchanged are copied on the node. What arrived is on flash in pieces of about
0.8 kB, each file is read back and hashed, and after a reset the node goes on where it was. The
controller's commit starts the trial (slots.py, start.py).

Loaded when the first Update comes; nothing here runs on a node that takes none.
"""

import asyncio
import gc
import hashlib
import os
import sys
from binascii import unhexlify

import machine
from micropython import const

from pbal_node import slots
from pbal_node.store import makedirs
from pbal_node.version import VERSION_CODE
from pbal_protocol import ota, records
from pbal_protocol.errors import RemoteError

_BUF = const(1024)
_PIECE = const(816)  # flushed from here on: one more chunk always fits
_TRIES = const(3)
_RESTART_MS = const(1000)  # so that the controller hears of it
_SPARE_BYTES = const(65536)  # flash that must stay free for settings, events, a log

# Numbers as in pbal_protocol.names; a const with _ before it takes no room on the node.
_OP_OFFER = const(1)
_OP_DATA = const(2)
_OP_COMMIT = const(4)
_OP_ABORT = const(5)
_STAGE_IDLE = const(0)
_STAGE_CHECKING = const(1)
_STAGE_RECEIVING = const(2)
_STAGE_READY = const(3)
_STAGE_RESTARTING = const(4)
_STAGE_TRIAL = const(5)
_STAGE_GOOD = const(6)
_STAGE_FAILED = const(7)
_WHY_NONE = const(0)
_WHY_NO_KEY = const(1)
_WHY_SIGNATURE = const(2)
_WHY_MANIFEST = const(3)
_WHY_BOARD = const(4)
_WHY_VERSION = const(5)
_WHY_SPACE = const(6)
_WHY_HASH = const(7)
_WHY_FLASH = const(8)
_WHY_BUSY = const(9)
_WHY_INTERNAL = const(10)
_UPDATE = const(71)  # a place of an error, see faults.py
_AT_FAILED = const(4)  # places in the state, see slots.py
_AT_WHY = const(5)
_EV_UPDATE_STARTED = const(17)
_EV_UPDATE_FAILED = const(19)
_INFO = const(0)
_ALARM = const(2)
_RESULT_OK = const(0)
_RESULT_REFUSED = const(3)


class Refused(Exception):
    """The update cannot be taken; the argument is the WHY_* number."""


def size_of(path: str) -> int:
    """Bytes of a file, -1 when there is none."""
    try:
        return os.stat(path)[6]
    except OSError:
        return -1


def wipe(path: str):
    """Generator: removes a folder and all below it, a file at a step."""
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


def attach(app, place: "slots.Slots") -> "Updater":
    """An updater at work for this application."""
    try:
        key = unhexlify(app.release_key)
    except (ValueError, TypeError):
        key = b""  # updates are refused, nothing else
    updater = Updater(app, key, place)
    asyncio.create_task(updater.run())
    return updater


class Updater:
    """`key`: the release key (32 bytes, b"" for none); `app` gives selector, log, restart."""

    def __init__(self, app, key: bytes, place: "slots.Slots") -> None:
        self._app = app
        self._key = key
        self._slots = place
        self._slot = place.spare()
        self._folder = slots.folder(self._slot)
        self._buf = bytearray(_BUF)
        self._fill = 0
        self._wake = asyncio.Event()
        self._status = records.UpdateStatus()
        self._running = self._manifest_digest(place.running)
        self._orders: list = []  # offer or abort that waits for the worker
        self._commit = False
        self._version = 0  # of the update
        self._rest()

    def _rest(self) -> None:
        """No update under way: the status tells what runs."""
        place = self._slots
        self._digest = b""
        self._size = 0
        self._signature = b""
        self._next = self._want = 0
        self._why = _WHY_NONE
        self._stage = (
            _STAGE_TRIAL if place.on_trial else _STAGE_GOOD if place.running else _STAGE_IDLE
        )

    def _manifest_digest(self, slot: int) -> bytes:
        h = hashlib.sha256()
        if slot:
            try:
                with open(slots.folder(slot) + "/manifest", "rb") as f:
                    while True:
                        piece = f.read(128)  # a heap full of holes has no room for all of it
                        if not piece:
                            return h.digest()
                        h.update(piece)
            except OSError:
                pass
        return bytes(32)

    # orders: quick, between a request and its answer -----------------------------------------

    def order(self, r) -> int:
        """Act on an Update record; returns the Ack's result."""
        op = r.op
        if op == _OP_DATA:
            self._take(r.at, r.data)
        elif op == _OP_OFFER:
            return self._offer(r.at, r.data)
        elif op == _OP_COMMIT:
            if r.data != self._digest[:8] or self._stage not in (_STAGE_READY, _STAGE_RESTARTING):
                return _RESULT_REFUSED
            self._commit = True
            self._wake.set()
        elif op == _OP_ABORT:
            self._orders = [None]
            self._wake.set()
        return _RESULT_OK

    def status(self):
        """The record that answers every Update."""
        s = self._status
        digest = self._digest or self._running
        s.digest = digest[:8]
        if self._stage == _STAGE_TRIAL and not self._slots.on_trial:
            self._stage = _STAGE_GOOD
        s.stage = self._stage
        s.why = self._why
        s.slot = self._slots.running
        s.next = self._next
        s.want = self._want if self._stage == _STAGE_RECEIVING else 0
        s.running = VERSION_CODE
        return s

    def _offer(self, size: int, data: bytes) -> int:
        if len(data) != 96 or not 0 < size <= ota.MANIFEST_MAX:
            return _RESULT_REFUSED
        digest = bytes(data[:32])
        if digest == self._running:
            if self._stage not in (_STAGE_TRIAL, _STAGE_GOOD) and not self._orders:
                self._rest()
        elif digest != self._digest:
            if self._slots.on_trial or self._stage == _STAGE_RESTARTING:
                return _RESULT_REFUSED
            self._orders = [(digest, bytes(data[32:]), size)]
            self._digest = digest
            self._stage = _STAGE_CHECKING
            self._why = _WHY_NONE
            self._wake.set()
        return _RESULT_OK

    def _take(self, at: int, data: bytes) -> None:
        if self._stage != _STAGE_RECEIVING or at > self._next:
            return
        skip = self._next - at  # a chunk that came before, repeated with more behind it
        n = min(len(data) - skip, self._want, _BUF - self._fill)
        if n <= 0:
            return
        self._buf[self._fill : self._fill + n] = data[skip : skip + n]
        self._fill += n
        self._next += n
        self._want -= n
        if self._want == 0 or self._fill >= _PIECE:
            self._stage = _STAGE_CHECKING
            self._wake.set()

    # the worker --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Never ends. Takes the newest order; another one ends what is under way."""
        while True:
            if not self._orders:
                self._wake.clear()
                await self._wake.wait()
                if not self._orders:
                    if self._commit and self._stage == _STAGE_READY:
                        try:
                            await self._restart()
                        except Exception as e:
                            self._app.faults.note(_UPDATE, e)
                            self._give_up(_WHY_INTERNAL)
                    continue
            offer = self._orders.pop()
            self._commit = False
            try:
                if offer is None:
                    await self._empty()
                    self._rest()
                else:
                    await self._bring(offer)
            except Refused as e:
                self._give_up(e.args[0])
            except RemoteError as e:
                print("pbal: update:", e)
                self._give_up(_WHY_MANIFEST)
            except OSError as e:
                print("pbal: update:", e)
                self._give_up(_WHY_FLASH)
            except Exception as e:  # a defect here must not end the node
                self._app.faults.note(_UPDATE, e)
                self._give_up(_WHY_INTERNAL)
            gc.collect()

    def _give_up(self, why: int) -> None:
        if why == _WHY_NONE:
            return  # another order came meanwhile
        self._stage = _STAGE_FAILED
        self._why = why
        self._next = self._want = 0
        self._app.log.emit(_EV_UPDATE_FAILED, _ALARM, why, self._slot)

    async def _breathe(self) -> None:
        await asyncio.sleep_ms(0)
        if self._orders:
            raise Refused(_WHY_NONE)

    async def _bring(self, offer) -> None:
        self._digest, self._signature, self._size = offer
        self._fill = 0
        self._next = self._want = 0
        place = self._slots
        failed = place.s[_AT_FAILED]
        if failed and self._manifest_digest(failed) == self._digest:
            self._stage = _STAGE_FAILED  # it had its trial; an abort forgets that
            self._why = place.s[_AT_WHY]
            return
        await self._check_signature()
        if not place.give_back(self._slot):
            raise Refused(_WHY_FLASH)
        await self._prepare()
        await self._manifest()
        head = await self._head()
        at = self._size
        with open(self._folder + "/manifest") as lines:
            for line in lines:
                line = line.rstrip()
                if len(line) < 64 or line.count(" ") != 2:
                    continue
                digest, size, path = ota.entry(line)
                await self._file(path, size, bytes.fromhex(digest), at)
                at += size
        if at != self._size + head.size:
            raise Refused(_WHY_MANIFEST)
        self._version = head.version
        self._next = at
        self._stage = _STAGE_READY

    async def _check_signature(self) -> None:
        if len(self._key) != 32:
            raise Refused(_WHY_NO_KEY)
        from pbal_protocol import ed25519

        good = None
        for good in ed25519.steps(  # noqa: B007
            self._key, ota.signed(self._digest), self._signature
        ):
            await self._breathe()
        # 6 kB of code for one second of work: gone until the next offer.
        del ed25519
        sys.modules.pop("pbal_protocol.ed25519")
        package = sys.modules["pbal_protocol"]
        if hasattr(package, "ed25519"):
            del package.ed25519
        gc.collect()
        if good is not True:
            raise Refused(_WHY_SIGNATURE)

    async def _empty(self) -> None:
        """Nothing is left in the spare slot, and the note of whose it is goes first."""
        if not self._slots.give_back(self._slot):
            raise Refused(_WHY_FLASH)
        try:
            os.remove(self._folder + "/offer")
        except OSError:
            pass
        for _ in wipe(self._folder):
            await asyncio.sleep_ms(5)

    async def _prepare(self) -> None:
        """The spare slot belongs to this update: as it was left, or empty."""
        note = self._folder + "/offer"
        try:
            with open(note, "rb") as f:
                if f.read() == self._digest:
                    return
        except OSError:
            pass
        await self._empty()
        makedirs("/app")
        makedirs(self._folder)
        with open(note, "wb") as f:
            f.write(self._digest)

    async def _manifest(self) -> None:
        await self._file("manifest", self._size, self._digest, 0)

    async def _head(self):
        """What the manifest says. Refused when this node must not run it."""
        head = ota.Head()
        with open(self._folder + "/manifest") as lines:
            for line in lines:
                if not head.line(line.rstrip()):
                    break
        if self._app.board_id not in head.boards:
            raise Refused(_WHY_BOARD)
        if head.version <= VERSION_CODE and not head.downgrade:
            raise Refused(_WHY_VERSION)
        if head.version < slots.minimum():
            raise Refused(_WHY_VERSION)  # whatever is signed with it: its holes are known
        fs = os.statvfs("/")
        if fs[0] * fs[3] < head.size + 4096 * head.files + _SPARE_BYTES - self._used():
            raise Refused(_WHY_SPACE)
        return head

    def _used(self) -> int:
        """Bytes of the update that are on flash already, roughly: to compare with free space."""
        total = 0
        stack = [self._folder]
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
        buf = self._buf  # empty whenever a file is read
        view = memoryview(buf)
        with open(path, "rb") as f:
            while True:
                n = f.readinto(buf)
                if not n:
                    return h.digest()
                h.update(view[:n])
                await self._breathe()

    async def _file(self, path: str, size: int, digest: bytes, at: int) -> None:
        """Returns when the file is in the slot and what the manifest says."""
        self._stage = _STAGE_CHECKING
        target = self._folder + "/" + path
        if size_of(target) <= 0:  # a copy that a power cut ended is empty
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
            makedirs(self._folder + "/" + path[:at])
            at = path.find("/", at + 1)

    async def _copy(self, path: str, size: int, digest: bytes, target: str) -> None:
        """Take the file from the application that runs, or the factory's, if it is the same."""
        for folder in (slots.folder(self._slots.running), "/lib"):
            source = folder + "/" + path
            if size_of(source) == size and await self._hash(source) == digest:
                buf = self._buf
                view = memoryview(buf)
                with open(source, "rb") as f, open(target, "wb") as out:
                    while True:
                        n = f.readinto(buf)
                        if not n:
                            return
                        out.write(view[:n])
                        await self._breathe()

    async def _receive(self, target: str, have: int, size: int, at: int) -> None:
        """Append what comes until the file has its size."""
        self._fill = 0
        self._next = at + have
        self._want = size - have
        view = memoryview(self._buf)
        if have == 0:
            with open(target, "wb"):
                pass
        while self._want:
            self._stage = _STAGE_RECEIVING
            self._wake.clear()
            await self._wake.wait()
            if self._orders:
                raise Refused(_WHY_NONE)
            if self._fill:
                with open(target, "ab") as f:
                    f.write(view[: self._fill])
                self._fill = 0

    # the end -----------------------------------------------------------------------------------

    async def _restart(self) -> None:
        """Start the trial: the state first, then the reset, at a moment when nothing moves."""
        app = self._app
        self._commit = False
        if app.selector.busy:
            self._why = _WHY_BUSY
            return
        if not self._slots.begin_trial(self._slot, app.current() >= 0):
            self._give_up(_WHY_FLASH)
            return
        self._stage = _STAGE_RESTARTING
        self._why = _WHY_NONE
        app.log.emit(_EV_UPDATE_STARTED, _INFO, VERSION_CODE, self._version)
        await asyncio.sleep_ms(_RESTART_MS)
        while app.selector.busy:
            await asyncio.sleep_ms(50)
        machine.reset()
