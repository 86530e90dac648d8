"""What HQ knows of one edge node: pure, without clock or port.

    unknown --birth--> born --death of the same bdSeq--> dead --birth--> born

Sparkplug 3.0, section 5: `seq` is 0 in a birth and one more, modulo 256, in each message after it;
a death counts only with the `bdSeq` of the birth (an older connection's will may come late). A
message that is missing is waited for; then a rebirth is asked for, after which the site sends once
more what HQ has not acknowledged. pbal's messages are independent, so none is held back for one
that is missing: only the request for a rebirth waits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Self

from pbal_uplink import BadMessage, metrics, sparkplug
from pbal_uplink.sparkplug import Payload

# The meaning of pbal's aliases before a birth has defined them: the declarations fix them.
DECLARED = sparkplug.aliases(
    Payload(
        tuple(
            metric
            for cls in metrics.SENT
            for in_plain in (False, True)
            for metric in metrics.announced(cls, 0, in_plain=in_plain)
        )
    )
)


@dataclass
class Verdict:
    """The effect of a message on the session."""

    payload: Payload | None = None  # to be used
    online: bool | None = None  # the node, or the device, came or went
    gone: list[str] = field(default_factory=list)  # devices that went with it
    rebirth: bool = False  # ask for one: HQ cannot read this node
    dead: str = ""  # why it cannot be used


@dataclass
class Node:
    """One edge node. `offset`: of the latest raw message that is in it."""

    offset: int = -1
    born: bool = False
    bdseq: int | None = None
    seq: int = 0  # of the latest message in order
    ahead: list[int] = field(default_factory=list)  # came although one before them is missing
    gap_ms: int | None = None  # since when one is missing
    aliases: dict[int, tuple[str, int]] = field(default_factory=dict)
    asked_ms: int | None = None  # the latest request for a rebirth
    asked: int = 0  # requests since the last birth
    devices: list[str] = field(default_factory=list)  # that are born

    # -- what comes -------------------------------------------------------------------------

    def take(self, kind: str, data: bytes, offset: int, now_ms: int) -> Verdict:
        """Judge one message."""
        self.offset = offset
        try:
            if kind == "NBIRTH":
                return self._birth(data)
            if kind == "NDEATH":
                return self._death(data)
            return self._data(data, now_ms)
        except BadMessage as error:
            return Verdict(dead=str(error), rebirth=kind != "NDEATH")

    def _birth(self, data: bytes) -> Verdict:
        payload = sparkplug.decode(data)
        if payload.seq != 0:
            raise BadMessage(f"a birth has seq 0, not {payload.seq}")
        bdseq = payload.get(sparkplug.BDSEQ)
        if not isinstance(bdseq, int):
            raise BadMessage("a birth without bdSeq")
        self.aliases = sparkplug.aliases(payload)
        self.bdseq, self.seq, self.born = bdseq, 0, True
        self.ahead, self.gap_ms = [], None
        self.asked_ms, self.asked = None, 0
        # Each device says anew that it is there (Sparkplug 3.0, 5.4).
        gone, self.devices = self.devices, []
        return Verdict(payload, online=True, gone=gone)

    def _death(self, data: bytes) -> Verdict:
        bdseq = sparkplug.decode(data).get(sparkplug.BDSEQ)
        if not self.born or bdseq != self.bdseq:
            return Verdict()  # of a connection before this one
        self.born, self.ahead, self.gap_ms = False, [], None
        gone, self.devices = self.devices, []
        return Verdict(online=False, gone=gone)

    def take_device(self, kind: str, device: str, data: bytes, offset: int, now_ms: int) -> Verdict:
        """Judge one message of a device. Its metrics are named: pbal gives devices no aliases."""
        self.offset = offset
        try:
            payload = sparkplug.decode(data)
            if any(not metric.name for metric in payload.metrics):
                raise BadMessage("a device's metric without a name")
            if payload.seq is None:
                raise BadMessage("a device's message without seq")
        except BadMessage as error:
            return Verdict(dead=str(error))
        verdict = Verdict(payload, rebirth=not self.born)
        if self.born:
            self._sequence(payload.seq, now_ms)
        known = device in self.devices
        if kind == "DDEATH":
            verdict.payload = None
            if known:
                self.devices.remove(device)
                verdict.online = False
        elif kind == "DBIRTH":
            verdict.online = True
            if not known:
                self.devices.append(device)
        elif self.born and not known:
            verdict.rebirth = True
        return verdict

    def _data(self, data: bytes, now_ms: int) -> Verdict:
        # Also of a node without a birth, or after its will: what can be read is used. A rebirth
        # restores the session.
        verdict = Verdict(rebirth=not self.born)
        payload = sparkplug.decode(data, self.aliases or DECLARED)
        if any(not metric.name for metric in payload.metrics):
            raise BadMessage("an alias that no birth has named")
        if payload.seq is None:
            raise BadMessage("data without seq")
        verdict.payload = payload
        if self.born:
            self._sequence(payload.seq, now_ms)
        return verdict

    def _sequence(self, seq: int, now_ms: int) -> None:
        if seq in (self.seq, *self.ahead):
            return  # given again by the broker
        if seq != (self.seq + 1) % 256:
            self.ahead = [*self.ahead, seq][-256:]
            if self.gap_ms is None:
                self.gap_ms = now_ms
            return
        self.seq = seq
        while (after := (self.seq + 1) % 256) in self.ahead:
            self.ahead.remove(after)
            self.seq = after
        if not self.ahead:
            self.gap_ms = None

    # -- what is missing --------------------------------------------------------------------

    def is_missing(self, now_ms: int, reorder_ms: float) -> bool:
        """Whether a message has been waited for in vain. The sequence goes on behind it."""
        if self.gap_ms is None or now_ms - self.gap_ms < reorder_ms:
            return False
        self.seq = self.ahead[-1]
        self.ahead, self.gap_ms = [], None
        return True

    def may_ask(self, now_ms: int, first_ms: float, last_ms: float) -> bool:
        """Whether to ask for a rebirth now: pauses double. Notes that it is asked."""
        pause = min(last_ms, first_ms * 2.0 ** min(30, max(0, self.asked - 1)))
        if self.asked_ms is not None and self.asked and now_ms - self.asked_ms < pause:
            return False
        self.asked_ms, self.asked = now_ms, self.asked + 1
        return True

    # -- kept -------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """For the bus, so that a restart forgets nothing."""
        kept: dict[str, Any] = dict(vars(self))
        kept["aliases"] = [[alias, *row] for alias, row in self.aliases.items()]
        return json.dumps(kept, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The node that was kept."""
        kept = json.loads(data)
        kept["aliases"] = {alias: (name, kind) for alias, name, kind in kept["aliases"]}
        return cls(**kept)
