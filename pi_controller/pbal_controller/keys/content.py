"""What a key store holds, and its form within the file. Pure: no file, no passphrase."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any

from pbal_controller.errors import KeyStoreError
from pbal_controller.keys.channel import Channel
from pbal_controller.keys.network import Network

KEY_BYTES = 32


@dataclass(frozen=True)
class NodeKey:
    """One node's root key. `fingerprint` names the key without giving it away. `console`: how its
    console was provisioned, "locked" or "open"; "" by a program that knew no lock.
    """

    address: int
    eui: str
    root: bytes
    revoked: bool = False
    console: str = ""

    def __repr__(self) -> str:
        return f"NodeKey(address={self.address}, eui={self.eui!r}, revoked={self.revoked})"

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when the key does (hash of a 256-bit random secret)."""
        return hashlib.sha256(b"pbal key fingerprint" + self.root).hexdigest()[:16]


def new_node(address: int, eui: str, root: bytes | None, console: str = "") -> NodeKey:
    """A node's entry; without `root` a fresh key is drawn. Raises KeyStoreError: not valid."""
    if not 1 <= address <= 0xFFFF:
        raise KeyStoreError(f"address {address} is outside 1..65535")
    try:
        eui_bytes = bytes.fromhex(eui)
    except ValueError:
        eui_bytes = b""
    if len(eui_bytes) != 8:
        raise KeyStoreError(f"eui {eui!r} must be 16 hex digits")
    if root is None:
        root = secrets.token_bytes(KEY_BYTES)
    if len(root) != KEY_BYTES:
        raise KeyStoreError(f"a root key has {KEY_BYTES} bytes, not {len(root)}")
    return NodeKey(address, eui.lower(), root, console=console)


@dataclass(frozen=True)
class GroupGeneration:
    """One group key of the site. `made_s` is unix time, 0 when it was not recorded."""

    number: int
    root: bytes
    made_s: float = 0.0
    why: str = ""
    by: str = ""

    def __repr__(self) -> str:
        return f"GroupGeneration({self.number}, made_s={self.made_s}, why={self.why!r})"


@dataclass(frozen=True, repr=False)
class Content:
    """All of it at one moment. `nodes` by address, `links` by site; `generations` are at most two,
    the oldest first, of which `active` is the number of the one in use.
    """

    generations: tuple[GroupGeneration, ...]
    active: int
    release_key: bytes = b""
    network: Network | None = None
    channel: Channel | None = None
    links: dict[int, bytes] = field(default_factory=dict)
    nodes: dict[int, NodeKey] = field(default_factory=dict)

    @property
    def newest(self) -> GroupGeneration:
        """The newest group key."""
        return self.generations[-1]

    @property
    def in_use(self) -> GroupGeneration:
        """The group key that group frames are sealed with."""
        for generation in self.generations:
            if generation.number == self.active:
                return generation
        return self.generations[0]

    def as_dict(self) -> dict[str, Any]:
        """As the file has it, keys included."""
        return {
            # For a program from before there were generations.
            "group": self.in_use.root.hex(),
            "generations": [asdict(g) | {"root": g.root.hex()} for g in self.generations],
            "active": self.active,
            "release": self.release_key.hex(),
            "network": None if self.network is None else self.network.as_dict(),
            "radio": None if self.channel is None else self.channel.as_dict(),
            "links": {str(site): root.hex() for site, root in sorted(self.links.items())},
            "nodes": [
                asdict(node) | {"root": node.root.hex()} for _, node in sorted(self.nodes.items())
            ],
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Content:
        """The opposite. Raises ValueError, KeyError, TypeError where it is not valid."""
        nodes = [
            NodeKey(
                int(item["address"]),
                str(item["eui"]),
                bytes.fromhex(item["root"]),
                bool(item.get("revoked", False)),
                str(item.get("console", "")),
            )
            for item in found["nodes"]
        ]
        # A store from before there were generations has one, of unknown age.
        generations = tuple(
            GroupGeneration(
                int(item["number"]),
                bytes.fromhex(item["root"]),
                float(item["made_s"]),
                str(item["why"]),
                str(item["by"]),
            )
            for item in found.get("generations", ())
        ) or (GroupGeneration(1, bytes.fromhex(found["group"])),)
        network, channel = found.get("network"), found.get("radio")
        return cls(
            generations=generations,
            active=int(found.get("active", generations[0].number)),
            release_key=bytes.fromhex(found.get("release", "")),
            network=None if network is None else Network.from_dict(network),
            channel=None if channel is None else Channel.from_dict(channel),
            links={int(site): bytes.fromhex(root) for site, root in found.get("links", {}).items()},
            nodes={node.address: node for node in nodes},
        )
