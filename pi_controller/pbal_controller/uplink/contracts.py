"""What a link to HQ needs of other parts."""

from __future__ import annotations

from typing import Any, Protocol

from pbal_controller.uplink.node import EdgeNode, Intents, Packet


class Orders(Protocol):
    """The part that carries out HQ's commands."""

    async def take(self, sealed: bytes) -> Any:
        """Judge one sealed command; returns an effect with `rebirth` and `reading`."""


class Behind(Protocol):
    """The sites behind this one's gateway: devices of its edge node."""

    def as_dict(self) -> dict[str, Any]:
        """For the status."""

    async def births(self, node: EdgeNode, *, first: bool) -> list[Packet]:
        """Their births, after that of the node."""

    async def due(self, node: EdgeNode, now: float) -> list[Packet]:
        """What is to be published now."""

    async def take(self, intents: Intents) -> None:
        """What HQ says to a device."""
