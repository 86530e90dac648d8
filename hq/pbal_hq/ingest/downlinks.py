"""Orders on their way to sites over LoRaWAN: what goes into ChirpStack's queue, and when again.

An order goes in the parts of `pbal_uplink.link`, each in one downlink. A device of class A hears
one after each of its uplinks, so a part leaves the queue with each uplink that comes. When all are
out and some uplinks later the site has not answered, one was lost on the air: all go in again,
_TRIES times at most. A site joins parts that come twice, carries an id out once, and asks for the
next part with an uplink of its own.

Nothing of this is kept: what is not answered HQ hands out again (`commands.dispatch`), also after a
restart, and what this process has in the queue already is left out then. Pure.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from pbal_uplink import Command, brief, link, signing

DOWN_PORT = 11
# Uplinks with nothing in the queue: the answer's own, one before it, one that was under way.
_PATIENCE = 3
# A site that does not hold HQ's key never answers.
_TRIES = 4
_COMMAND_AT = signing.KEY_ID + signing.SIGNATURE


@dataclass(frozen=True)
class Downlink:
    """One message to ChirpStack (api/proto/integration, DownlinkCommand as JSON)."""

    application: str
    dev_eui: str
    data: bytes

    @property
    def topic(self) -> str:
        """Where it goes."""
        return f"application/{self.application}/device/{self.dev_eui}/command/down"

    def encode(self) -> bytes:
        """Its payload."""
        said = {
            "devEui": self.dev_eui, "confirmed": False, "fPort": DOWN_PORT,
            "data": base64.b64encode(self.data).decode(),
        }  # fmt: skip
        return json.dumps(said).encode()


@dataclass
class _Order:
    parts: list[bytes]
    expires_s: float
    queued: bool = False
    tries: int = 0


@dataclass
class _Device:
    application: str = ""  # not known until it is heard, where the configuration names none
    orders: dict[int, _Order] = field(default_factory=dict)
    queued: int = 0  # parts in ChirpStack's queue
    empty: int = 0  # uplinks since it was empty


class Downlinks:
    """All devices of one network server. `application`: where all of them are, or ""."""

    def __init__(self, application: str = "") -> None:
        self._application = application
        self._devices: dict[str, _Device] = {}

    def order(self, dev_eui: str, sealed: bytes, now_s: float) -> list[Downlink]:
        """An order of HQ; what to send for it now. Raises BadMessage: it is none, or too long."""
        command = Command.decode(sealed[_COMMAND_AT:])
        device = self._device(dev_eui)
        if command.expires_s > now_s and command.command_id not in device.orders:
            parts = [link.pack([part]) for part in link.split(sealed, brief.LIMIT)]
            device.orders[command.command_id] = _Order(parts, command.expires_s)
        return self._due(dev_eui, device, now_s)

    def answered(self, dev_eui: str, command_id: int) -> None:
        """The site has answered it."""
        self._device(dev_eui).orders.pop(command_id, None)

    def heard(self, dev_eui: str, application: str, now_s: float) -> list[Downlink]:
        """The device has sent something; what to send to it now."""
        device = self._device(dev_eui)
        device.application = application
        if device.queued:
            device.queued -= 1
        elif device.orders:
            device.empty += 1
            if device.empty >= _PATIENCE:
                for each in device.orders.values():
                    each.queued = each.tries >= _TRIES
        return self._due(dev_eui, device, now_s)

    def _device(self, dev_eui: str) -> _Device:
        return self._devices.setdefault(dev_eui, _Device(self._application))

    def _due(self, dev_eui: str, device: _Device, now_s: float) -> list[Downlink]:
        device.orders = {n: each for n, each in device.orders.items() if each.expires_s > now_s}
        out = []
        for each in device.orders.values():
            if device.application and not each.queued:
                each.queued = True
                each.tries += 1
                out += [Downlink(device.application, dev_eui, part) for part in each.parts]
        device.queued += len(out)
        if out:
            device.empty = 0
        return out
