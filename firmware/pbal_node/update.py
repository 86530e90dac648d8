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
from binascii import unhexlify

import machine
from micropython import const

from pbal_node import slots, unload
from pbal_node.slots import Refused
from pbal_node.version import VERSION_CODE
from pbal_protocol import records
from pbal_protocol.errors import RemoteError

_MANIFEST_MAX = const(16384)  # pbal_protocol.ota
_BUF = const(1024)
_PIECE = const(816)  # flushed from here on: one more chunk always fits
_RESTART_MS = const(1000)  # so that the controller hears of it

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
# These are unloaded between two orders.
_UNLOADED = (("pbal_node", "delivery"), ("pbal_protocol", "ota"), ("pbal_protocol", "ed25519"))


def attach(release_key: str, place, board_id: int, selector, meter, log, faults) -> "Updater":
    """An updater at work for this application; arguments as for `Updater`, the key in hex."""
    try:
        key = unhexlify(release_key)
    except (ValueError, TypeError):
        key = b""  # updates are refused, nothing else
    updater = Updater(key, place, board_id, selector, meter, log, faults)
    asyncio.create_task(updater.run())
    return updater


class Updater:
    """`key`: the release key (32 bytes, b"" for none); `place`: the slots; `selector`: no restart
    while it is busy; `meter`: its current() is negative while it is silent.
    """

    def __init__(
        self, key: bytes, place: "slots.Slots", board_id: int, selector, meter, log, faults
    ) -> None:
        self._key = key
        self.slots = place
        self.board_id = board_id
        self._selector = selector
        self._meter = meter
        self._log = log
        self._faults = faults
        self.slot = place.spare()
        self.folder = slots.folder(self.slot)
        self.buf = bytearray(0)  # while a slot is filled: a kilobyte
        self.fill = 0
        self._wake = asyncio.Event()
        self._status = records.UpdateStatus()
        self._running = self._manifest_digest(place.running)
        self._orders: list = []  # offer or abort that waits for the worker
        self._commit = False
        self._version = 0  # of the update
        self._rest()

    def _rest(self) -> None:
        """No update under way: the status tells what runs."""
        place = self.slots
        self.digest = b""
        self.size = 0
        self._signature = b""
        self.next = self.want = 0
        self._why = _WHY_NONE
        self.stage = (
            _STAGE_TRIAL if place.on_trial else _STAGE_GOOD if place.running else _STAGE_IDLE
        )

    def _manifest_digest(self, slot: int) -> bytes:
        h = hashlib.sha256()
        if slot:
            try:
                with open(slots.folder(slot) + "/manifest", "rb") as f:
                    while True:
                        piece = f.read(128)  # a fragmented heap has no block for all of it
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
            if r.data != self.digest[:8] or self.stage not in (_STAGE_READY, _STAGE_RESTARTING):
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
        digest = self.digest or self._running
        s.digest = digest[:8]
        if self.stage == _STAGE_TRIAL and not self.slots.on_trial:
            self.stage = _STAGE_GOOD
        s.stage = self.stage
        s.why = self._why
        s.slot = self.slots.running
        s.next = self.next
        s.want = self.want if self.stage == _STAGE_RECEIVING else 0
        s.running = VERSION_CODE
        return s

    def _offer(self, size: int, data: bytes) -> int:
        if len(data) != 96 or not 0 < size <= _MANIFEST_MAX:
            return _RESULT_REFUSED
        digest = bytes(data[:32])
        if digest == self._running:
            if self.stage not in (_STAGE_TRIAL, _STAGE_GOOD) and not self._orders:
                self._rest()
        elif digest != self.digest:
            if self.slots.on_trial or self.stage == _STAGE_RESTARTING:
                return _RESULT_REFUSED
            if not self.slots.stats.may():
                return _RESULT_REFUSED
            self._orders = [(digest, bytes(data[32:]), size)]
            self.digest = digest
            self.stage = _STAGE_CHECKING
            self._why = _WHY_NONE
            self._wake.set()
        return _RESULT_OK

    def _take(self, at: int, data: bytes) -> None:
        if self.stage != _STAGE_RECEIVING or at > self.next:
            return
        skip = self.next - at  # a chunk that came before, repeated with more behind it
        n = min(len(data) - skip, self.want, len(self.buf) - self.fill)
        if n <= 0:
            return
        self.buf[self.fill : self.fill + n] = data[skip : skip + n]
        self.fill += n
        self.next += n
        self.want -= n
        if self.want == 0 or self.fill >= _PIECE:
            self.stage = _STAGE_CHECKING
            self._wake.set()

    # the worker --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Never ends. Takes the newest order; another one ends what is under way."""
        while True:
            if not self._orders:
                self._wake.clear()
                await self._wake.wait()
                if not self._orders:
                    if self._commit and self.stage == _STAGE_READY:
                        try:
                            await self._restart()
                        except Exception as e:
                            self._faults.note(_UPDATE, e)
                            self._give_up(_WHY_INTERNAL)
                    continue
            offer = self._orders.pop()
            self._commit = False
            try:
                if offer is None:
                    from pbal_node.delivery import Delivery

                    await Delivery(self).empty()
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
                self._faults.note(_UPDATE, e)
                self._give_up(_WHY_INTERNAL)
            self.buf = bytearray(0)
            for package, name in _UNLOADED:
                unload(package, name)
            gc.collect()

    def _give_up(self, why: int) -> None:
        if why == _WHY_NONE:
            return  # another order came meanwhile
        self.stage = _STAGE_FAILED
        self._why = why
        self.next = self.want = 0
        self._log.emit(_EV_UPDATE_FAILED, _ALARM, why, self.slot)

    async def breathe(self) -> None:
        """Let other tasks run. Raises Refused when another order came meanwhile."""
        await asyncio.sleep_ms(0)
        if self._orders:
            raise Refused(_WHY_NONE)

    async def more(self) -> None:
        """Wait for bytes of the stream. Raises Refused when another order came meanwhile."""
        self.stage = _STAGE_RECEIVING
        self._wake.clear()
        await self._wake.wait()
        if self._orders:
            raise Refused(_WHY_NONE)

    async def _bring(self, offer) -> None:
        self.digest, self._signature, self.size = offer
        self.fill = 0
        self.next = self.want = 0
        place = self.slots
        failed = place.s[_AT_FAILED]
        if failed and self._manifest_digest(failed) == self.digest:
            self.stage = _STAGE_FAILED  # it failed a trial before; an abort clears that
            self._why = place.s[_AT_WHY]
            return
        gc.collect()
        # Now: loading fragments the heap, and no free block may be a kilobyte then.
        self.buf = bytearray(_BUF)
        await self._check_signature()
        from pbal_node.delivery import Delivery

        self._version = await Delivery(self).fill()
        self.stage = _STAGE_READY

    async def _check_signature(self) -> None:
        if len(self._key) != 32:
            raise Refused(_WHY_NO_KEY)
        from pbal_protocol import ota

        message = ota.signed(self.digest)
        del ota
        unload("pbal_protocol", "ota")
        gc.collect()
        from pbal_protocol import ed25519

        good = None
        for good in ed25519.steps(self._key, message, self._signature):  # noqa: B007
            await self.breathe()
        # Needed for a second only: unloaded before the module that takes the files is loaded.
        del ed25519
        unload("pbal_protocol", "ed25519")
        gc.collect()
        if good is not True:
            raise Refused(_WHY_SIGNATURE)

    # the end -----------------------------------------------------------------------------------

    async def _restart(self) -> None:
        """Start the trial: the state first, then the reset, at a moment when nothing moves."""
        self._commit = False
        if self._selector.busy:
            self._why = _WHY_BUSY
            return
        if not self.slots.begin_trial(self.slot, self._meter.current() >= 0):
            self._give_up(_WHY_FLASH)
            return
        self.stage = _STAGE_RESTARTING
        self._why = _WHY_NONE
        self._log.emit(_EV_UPDATE_STARTED, _INFO, VERSION_CODE, self._version)
        await asyncio.sleep_ms(_RESTART_MS)
        while self._selector.busy:
            await asyncio.sleep_ms(50)
        machine.reset()
