"""The site's Wi-Fi as nodes are provisioned with it: its networks, and where the controller is.

Keys of networks are secrets like the others: in the key store, encrypted, and in no repr.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Any

from pbal_controller.errors import KeyStoreError
from pbal_protocol.datagram import PORT

MAX_NETWORKS = 4
_MDNS = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.local")


@dataclass(frozen=True)
class Network:
    """`wifi`: (name, key) of each, the key empty for an open one; tried in this order."""

    host: str
    port: int = PORT
    wifi: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Network(host={self.host!r}, port={self.port}, names={self.names})"

    @property
    def names(self) -> list[str]:
        """Of the networks; no keys."""
        return [name for name, _ in self.wifi]

    def as_dict(self) -> dict[str, Any]:
        """As nodes and the key store have it, keys included."""
        return {"host": self.host, "port": self.port, "wifi": [list(one) for one in self.wifi]}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Network:
        """The opposite. Raises ValueError, KeyError, TypeError where it is not valid."""
        wifi = tuple((str(name), str(key)) for name, key in found["wifi"])
        return cls(str(found["host"]), int(found["port"]), wifi)

    def proof_content(self) -> bytes:
        """What a node's proof covers: every part of it, in one order."""
        parts = [self.host, str(self.port), *(part for one in self.wifi for part in one)]
        return "\0".join(parts).encode()

    def with_wifi(self, name: str, key: str) -> Network:
        """With one more network, or another key for one. Raises KeyStoreError."""
        if not 1 <= len(name.encode()) <= 32 or not name.isprintable():
            raise KeyStoreError(f"a Wi-Fi's name has 1 to 32 bytes, not {len(name.encode())}")
        if key and (not 8 <= len(key.encode()) <= 63 or not key.isprintable()):
            raise KeyStoreError("a Wi-Fi's key has 8 to 63 characters (WPA), or is empty")
        wifi = tuple(one if one[0] != name else (name, key) for one in self.wifi)
        if name not in self.names:
            wifi += ((name, key),)
        if len(wifi) > MAX_NETWORKS:
            raise KeyStoreError(f"a node knows {MAX_NETWORKS} networks at most; remove one first")
        return replace(self, wifi=wifi)

    def without_wifi(self, name: str) -> Network:
        """Without one. Raises KeyStoreError when there is none of that name."""
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise KeyStoreError(f"there is no network {name!r} (known: {known})")
        return replace(self, wifi=tuple(one for one in self.wifi if one[0] != name))


def checked_host(host: str) -> str:
    """The host as nodes can use it. Raises KeyStoreError: they look up no other names."""
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        if _MDNS.fullmatch(host):
            return host.lower()
    raise KeyStoreError(
        f"{host!r} is no IPv4 address and no name that ends in .local; nodes find the controller "
        "by one of these, as 192.168.7.1 or pbal-7.local"
    )
