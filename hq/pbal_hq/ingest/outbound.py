"""HQ's messages to a node: rebirth requests, acknowledgements, sealed commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pbal_uplink import sparkplug
from pbal_uplink.sparkplug import Metric, Payload

_TOKENS = 500  # of one message


@dataclass(frozen=True)
class Packet:
    """One NCMD, or DCMD. `key`: group/node, or group/node/device."""

    key: str
    metric: Metric

    @classmethod
    def rebirth(cls, key: str) -> Packet:
        """Send the birth again."""
        return cls(key, Metric(sparkplug.REBIRTH, True, sparkplug.BOOLEAN))

    @classmethod
    def stored(cls, key: str, tokens: Iterable[str]) -> Packet:
        """These are stored."""
        numbers = tuple(int(token, 16) for token in tokens)
        return cls(key, Metric(sparkplug.STORED, numbers, sparkplug.UINT64_ARRAY))

    @classmethod
    def command(cls, key: str, sealed: bytes) -> Packet:
        """A sealed command."""
        return cls(key, Metric(sparkplug.COMMAND, sealed, sparkplug.BYTES))

    @property
    def topic(self) -> str:
        """Where it goes."""
        group, _, node = self.key.partition("/")
        node, _, device = node.partition("/")
        return sparkplug.topic(group, "DCMD" if device else "NCMD", node, device)

    def encode(self, at_ms: int) -> bytes:
        """Its payload."""
        return sparkplug.encode(Payload((self.metric,), at_ms))


class Acknowledgements:
    """Tokens that wait to be sent together: each message costs bytes of a site's modem."""

    def __init__(self, batch: int, within_s: float) -> None:
        self._batch = batch
        self._within_ms = within_s * 1000
        # By node: token -> offset on the bus; in the order of their coming.
        self._waiting: dict[str, dict[str, int]] = {}
        self._since: dict[str, int] = {}

    def add(self, key: str, tokens: Iterable[str], offset: int, at_ms: int) -> None:
        """Stored at a time, as the bus's record at `offset` says."""
        for token in tokens:
            self._since.setdefault(key, at_ms)
            self._waiting.setdefault(key, {}).setdefault(token, offset)

    def flush(self, key: str) -> list[Packet]:
        """What waits for one node, at once."""
        tokens = list(self._waiting.pop(key, ()))
        self._since.pop(key, None)
        return [Packet.stored(key, tokens[n : n + _TOKENS]) for n in range(0, len(tokens), _TOKENS)]

    def due(self, now_ms: int) -> list[Packet]:
        """The messages that are due now."""
        out: list[Packet] = []
        for key, tokens in list(self._waiting.items()):
            if len(tokens) >= self._batch or now_ms - self._since[key] >= self._within_ms:
                out += self.flush(key)
        return out

    def done(self, offset: int) -> int:
        """Up to where the bus is dealt with, of what was read up to `offset`."""
        oldest = min(
            (next(iter(tokens.values())) for tokens in self._waiting.values()), default=offset + 1
        )
        return oldest - 1
