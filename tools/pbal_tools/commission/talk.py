"""The sealed conversation with one provisioned node, from a laptop instead of the controller.

Counters: a counter that was used once with a key may never be used again. They come from the
controller's journal where it is given, else from this commissioning's own record, well above the
floor that the node reports; and the conversation ends with a frame that the node has acknowledged,
so that the controller, who asks for the floor, continues above everything sent from here.
"""

import secrets
import struct
import time
from collections.abc import Callable

from pbal_controller.homes import time_sync
from pbal_controller.keys import NodeKey
from pbal_protocol import config, frames, kdf, modbus, modbus_client, records
from pbal_protocol.codec import Record
from pbal_protocol.errors import RemoteError

from ..errors import CheckFailed, PeerError, UnreachableError
from .line import Line

Reserve = Callable[[int, str, int, int], int]  # address, key, at least, count -> first

_BLOCK = 64
_GAP = 4096  # above the node's floor, for frames of the controller that never arrived
PATIENCE_S = 12.0
_PAUSE_S = 0.05


class Talk:
    """One node: what it said last of everything, and what it is to be told."""

    def __init__(
        self, line: Line, site_id: int, key: NodeKey, reserve: Reserve, bottom: int = 0
    ) -> None:
        up, down = kdf.node_keys(key.root, site_id, key.address)
        self.address = key.address
        self.unit = key.address & 0xFF
        self.eui = key.eui
        self.line = line
        self._fingerprint = key.fingerprint
        self._sealer = frames.Sealer(down, frames.DOWN, site_id, key.address)
        self._opener = frames.Opener(up, frames.UP, site_id, key.address, bottom)
        self._reserve = reserve
        self._next = self._end = 0
        self._floor = 0
        self.hello: records.Hello | None = None
        self.telemetry: records.Telemetry | None = None
        self.results: dict[int, records.SwitchResult] = {}
        self.config: dict[int, records.ConfigValue] = {}
        self.health: records.Health | None = None
        self.acked = -1
        self.refused = 0  # answers that were not authentic

    # -- frames --------------------------------------------------------------------------

    def _counter(self) -> int:
        if self._next >= self._end or self._next <= self._floor:
            least = max(1, self._floor + _GAP if self._floor >= self._end else self._floor + 1)
            self._next = self._reserve(self.address, self._fingerprint, least, _BLOCK)
            self._end = self._next + _BLOCK
        self._next += 1
        return self._next - 1

    def knock(self) -> None:
        """Makes the node say its name, and with it its floor, without using up any counter.

        Counter 0 is below every floor: the node refuses the frame unread, and answers whoever lost
        count with a Hello.
        """
        head = struct.pack("<BHI", frames.VERSION << 4 | frames.DOWN, self.address, 0)
        self._exchange(head + secrets.token_bytes(16))

    def poll(self, *items: Record, tries: int = 3) -> list[Record]:
        """One exchange; the records that came, [] when the node stays silent.

        Repeats carry a new counter; what is repeated must do no harm twice (a Switch keeps its id).
        """
        for _ in range(tries):
            frame = b""
            if items:
                frame = self._sealer.seal(
                    self._counter(), b"".join(item.encode() for item in items)
                )
            got = self._exchange(frame)
            if got:
                return got
            time.sleep(_PAUSE_S)
        return []

    def _exchange(self, frame: bytes) -> list[Record]:
        answer = self.line.request(self.unit, modbus_client.request_pdu(modbus.OP_POLL, frame), 1)
        if answer is None:
            return []
        try:
            body = modbus_client.parse_pdu(answer)[1]
            got = records.decode_all(self._opener.open(body), "up")
        except RemoteError:
            self.refused += 1
            return []
        for record in got:
            self._take(record)
        return got

    def _take(self, record: Record) -> None:
        if isinstance(record, records.Telemetry):
            self.telemetry = record
        elif isinstance(record, records.Hello):
            self.hello = record
            self._floor = max(self._floor, record.down_floor)
        elif isinstance(record, records.SwitchResult):
            self.results[record.command_id] = record
        elif isinstance(record, records.ConfigValue):
            self.config[record.key] = record
        elif isinstance(record, records.Health):
            self.health = record
        elif isinstance(record, records.Ack):
            self.acked = max(self.acked, record.counter)

    def until(
        self, true: Callable[[], bool], what: str, *ask: Record, patience_s: float = PATIENCE_S
    ) -> None:
        """Polls until a condition holds; `ask` is sent again every second.

        Raises UnreachableError or PeerError for a node that is silent or not authentic, else
        CheckFailed naming `what` never came.
        """
        end = time.monotonic() + patience_s
        asked = 0.0
        heard = False
        refused = self.refused
        while not true():
            now = time.monotonic()
            if now > end:
                break
            if now - asked > 1.0:
                asked = now
                heard = bool(self.poll(*ask)) or heard
            else:
                heard = bool(self.poll()) or heard
            time.sleep(_PAUSE_S)
        else:
            return
        if heard:
            raise CheckFailed(f"Home {self.address}: {what} did not come.", "Repeat the step.")
        if self.refused > refused:
            raise PeerError(
                f"Home {self.address}: what answers at unit {self.unit} holds another key.",
                f"Read the label; provision it anew: pbal provision add --address {self.address}",
            )
        raise UnreachableError(
            f"Home {self.address} does not answer at unit {self.unit}.",
            "Check its supply, A and B, and whether it is provisioned for this site.",
        )

    # -- what the steps need -------------------------------------------------------------

    def contact(self) -> None:
        """Proves that the node is there now, is the one with our key, and has the time.

        An answer alone proves little, it may be a recording: the acknowledgement of a frame sealed
        just now proves the node. Raises as `until`.
        """
        self.until(lambda: self.telemetry is not None, "a reading")

        def named() -> bool:
            if self.hello is None:
                self.knock()
            return self.hello is not None

        self.until(named, "its name")
        if self._next:
            self.acked = -1
        ask = records.StatusGet(what=records.WHAT_HELLO)
        self.until(lambda: self.acked > 0, "a fresh acknowledgement", ask)
        self.sync()

    def sync(self) -> None:
        """Sets the node's clock, echoing its nonce, if it has none."""
        assert self.telemetry is not None
        if self.telemetry.time_s and not self.telemetry.flags & records.FLAG_UNSYNCED:
            return

        def set_it() -> bool:
            self.poll(records.StatusGet(what=records.WHAT_HELLO))
            self.poll()
            assert self.hello is not None
            self.poll(time_sync(self.hello.nonce))
            self.poll()
            return bool(self.telemetry and self.telemetry.time_s)

        self.until(set_it, "the time")

    def reading(self) -> records.Telemetry:
        """A reading sealed just now. Raises UnreachableError."""
        for record in self.poll(tries=8):
            if isinstance(record, records.Telemetry):
                return record
        raise UnreachableError(
            f"Home {self.address} went silent.", "Check its supply and the bus, then repeat."
        )

    def settings(self) -> dict[str, int]:
        """Every setting of the node by name."""
        self.config.clear()
        keys = {row[0] for row in config.KEYS}
        self.until(
            lambda: keys <= set(self.config), "its settings",
            records.ConfigGet(key=records.ALL_KEYS),
        )  # fmt: skip
        return {row[1]: self.config[row[0]].value for row in config.KEYS}

    def set(self, name: str, value: int) -> int:
        """Changes a setting and reads it back; returns what the node holds.

        Raises CheckFailed where that is not what was asked for.
        """
        key = config.entry(name)[0]
        config.check(name, value)
        self.config.pop(key, None)
        self.until(
            lambda: key in self.config and self.config[key].value == value,
            f"{name} = {value}", records.Config(key=key, value=value),
        )  # fmt: skip
        self.config.pop(key)
        self.until(lambda: key in self.config, name, records.ConfigGet(key=key))
        held = self.config[key].value
        if held != value:
            raise CheckFailed(
                f"Home {self.address}: {name} reads back as {held}, not {value}.",
                "Repeat; if it stays so, the node's flash is worn out.",
            )
        return held

    def finish(self, patience_s: float = PATIENCE_S) -> None:
        """The last word: one more frame acknowledged, so that its counter is the node's floor."""
        if self._next:
            last = self._next  # the counter of the frame that asks
            self.until(
                lambda: self.acked >= last, "the last acknowledgement",
                records.StatusGet(what=records.WHAT_HELLO), patience_s=patience_s,
            )  # fmt: skip
