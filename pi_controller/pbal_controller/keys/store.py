"""Root keys of the nodes, encrypted at rest.

One sealed JSON file (sealing.py). It is 0600, replaced atomically, and flushed to the disk before
it replaces the old one.
Keys appear in no repr, no log line and no error text.

The controller and the command line may both change it: every change holds a lock on the folder
and begins with what the file says then. Group keys come in generations, at most two at a time:
the one in use, and a newer one on its way to the nodes (group_keys.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pbal_controller.documents import dump_json, load_json
from pbal_controller.errors import KeyStoreError
from pbal_controller.keys.channel import Channel
from pbal_controller.keys.content import (
    KEY_BYTES,
    Content,
    GroupGeneration,
    NodeKey,
    new_node,
)
from pbal_controller.keys.file import atomic_write, read
from pbal_controller.keys.network import Network
from pbal_controller.keys.sealing import Seal


def user() -> str:
    """Who runs this program, for the records; empty when the system does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


class KeyStore:
    """The key store of one site, open in memory. Every change is written at once."""

    def __init__(self, path: Path, seal: Seal) -> None:
        self.path = path
        self.site_id = seal.site_id
        self._seal = seal
        self._content = Content((), 1)  # until it is opened or made

    def __repr__(self) -> str:
        nodes = len(self._content.nodes)
        return f"KeyStore({str(self.path)!r}, site_id={self.site_id}, nodes={nodes})"

    # -- opening -------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path | str,
        passphrase: bytes,
        site_id: int,
        *,
        log2_n: int = 15,
        group_key: bytes | None = None,
    ) -> KeyStore:
        """A new store; the group key is drawn unless nodes have one already.

        Raises KeyStoreError when the file exists or a key has the wrong size.
        """
        path = Path(path)
        if path.exists():
            raise KeyStoreError(f"{path}: exists already; move it away or open it")
        if not passphrase:
            raise KeyStoreError("the passphrase is empty; give one of at least one byte")
        store = cls(path, Seal.derived(passphrase, log2_n, site_id, secrets.token_bytes(16)))
        if group_key is not None and len(group_key) != KEY_BYTES:
            raise KeyStoreError(f"a group key has {KEY_BYTES} bytes, not {len(group_key)}")
        root = group_key or secrets.token_bytes(KEY_BYTES)
        store._content = Content((GroupGeneration(1, root, time.time(), "first", user()),), 1)
        store._write()
        return store

    @classmethod
    def open(cls, path: Path | str, passphrase: bytes) -> KeyStore:
        """Open a store. Raises KeyStoreError when it is missing, damaged or locked."""
        path = Path(path)
        head, nonce, sealed = read(path)
        store = cls(path, Seal.derived(passphrase, *head))
        try:
            store._open(nonce, sealed)
        except InvalidTag:
            raise KeyStoreError(
                f"{path}: the passphrase does not open it, or the file was altered"
            ) from None
        return store

    def reload(self) -> None:
        """Read what another program wrote. Raises KeyStoreError; then nothing has changed."""
        head, nonce, sealed = read(self.path)
        if head != self._seal.head:
            raise KeyStoreError(
                f"{self.path}: another key store lies here now; put this site's back, "
                "or restart the controller if it was replaced on purpose"
            )
        try:
            self._open(nonce, sealed)
        except InvalidTag:
            raise KeyStoreError(f"{self.path}: was altered; restore it from a backup") from None

    def replace(self, data: bytes) -> None:
        """Put another copy of this very store in place, whole and checked. Raises KeyStoreError."""
        fresh = self.path.with_name(f".{self.path.name}.peer")
        atomic_write(fresh, data)
        try:
            head, nonce, sealed = read(fresh)
            if head != self._seal.head:
                raise KeyStoreError("it is another key store")
            self._seal.open(nonce, sealed)
        except (InvalidTag, KeyStoreError, ValueError) as error:
            raise KeyStoreError(
                f"the other controller's key store does not open here ({error or 'altered'})"
            ) from None
        finally:
            fresh.unlink(missing_ok=True)
        atomic_write(self.path, data)

    def _open(self, nonce: bytes, sealed: bytes) -> None:
        try:
            self._content = Content.from_dict(load_json(self._seal.open(nonce, sealed)))
        except (ValueError, KeyError, TypeError):  # a nonce of another length; other content
            raise KeyStoreError(f"{self.path}: damaged; restore it from a backup") from None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One change: no other program's is lost, and one that cannot be written is not made."""
        try:
            lock = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise KeyStoreError(f"{self.path.parent}: {error.strerror}") from None
        before = self._content
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.reload()
            before = self._content
            yield
            self._write()
        except BaseException:
            self._content = before
            raise
        finally:
            os.close(lock)

    def _write(self) -> None:
        plain = dump_json(self._content.as_dict()).encode()
        atomic_write(self.path, self._seal.document(plain))

    # -- use -----------------------------------------------------------------------------

    @property
    def newest(self) -> GroupGeneration:
        """The newest group key: what nodes are given."""
        return self._content.newest

    @property
    def active(self) -> GroupGeneration:
        """The group key that group frames are sealed with; older than `newest` in a change."""
        return self._content.in_use

    @property
    def group_key(self) -> bytes:
        """The root (32 bytes) of the newest group key."""
        return self.newest.root

    def new_group_key(self, why: str, by: str, above: int = 0) -> GroupGeneration:
        """Draw the next group key, with a number above `above` too. In the file on return.

        It takes the place of one that was still on its way to the nodes.
        """
        with self._changing():
            made = self._draw(why, by, above)
        return made

    def _draw(self, why: str, by: str, above: int = 0) -> GroupGeneration:
        number = max(self.newest.number, above) + 1
        made = GroupGeneration(number, secrets.token_bytes(KEY_BYTES), time.time(), why, by)
        self._content = replace(self._content, generations=(self.active, made))
        return made

    def activate(self, number: int) -> bool:
        """From now on group frames are sealed with this one, the newest; the older is forgotten.

        False when a newer one was drawn meanwhile: then nothing has changed.
        """
        with self._changing():
            found = self.newest.number == number
            if found:
                self._content = replace(self._content, active=number, generations=(self.newest,))
        return found

    def audit_key(self) -> Ed25519PrivateKey:
        """Signs the audit log: derived from this store's own key."""
        return Ed25519PrivateKey.from_private_bytes(self._seal.key_for(b"pbal audit key 1"))

    def vault_key(self) -> bytes:
        """Seals values in the journal (AES-256): derived as above."""
        return self._seal.key_for(b"pbal vault key 1")

    def tls_secret(self) -> bytes:
        """Seals the key of the uplink's certificate: derived as above, as hex digits."""
        return self._seal.key_for(b"pbal uplink tls key 1").hex().encode()

    def link_key(self) -> Ed25519PrivateKey:
        """Proves to a second controller that both have this store: derived as above."""
        return Ed25519PrivateKey.from_private_bytes(self._seal.key_for(b"pbal standby link key 1"))

    @property
    def release_key(self) -> bytes:
        """The public key (Ed25519, 32 bytes) that updates of this site's nodes are signed with.

        Empty for none. It is no secret, but it must be the right one: in this store it cannot be
        altered unnoticed.
        """
        return self._content.release_key

    def set_release_key(self, public: bytes) -> None:
        """From now on nodes are provisioned with this key; b"" for none.

        Raises KeyStoreError when it has the wrong size.
        """
        if len(public) not in (0, KEY_BYTES):
            raise KeyStoreError(f"a release key has {KEY_BYTES} bytes, not {len(public)}")
        with self._changing():
            self._content = replace(self._content, release_key=public)

    def link(self, site: int) -> bytes:
        """The root key (32 bytes) that a site and its gateway share. Raises KeyStoreError."""
        try:
            return self._content.links[site]
        except KeyError:
            raise KeyStoreError(
                f"{self.path}: no key for the LoRa link of site {site}; make it at the gateway "
                f"with `pbal-controller keys link {site} --new FILE` and bring it to the site with "
                f"`pbal-controller keys link {site} --take FILE`"
            ) from None

    def set_link(self, site: int, root: bytes | None = None) -> bytes:
        """From now on the LoRa link of a site has this key; without one a fresh key is drawn."""
        root = secrets.token_bytes(KEY_BYTES) if root is None else root
        if len(root) != KEY_BYTES:
            raise KeyStoreError(f"a link's key has {KEY_BYTES} bytes, not {len(root)}")
        with self._changing():
            links = self._content.links | {site: root}
            self._content = replace(self._content, links=links)
        return root

    @property
    def network(self) -> Network | None:
        """The site's Wi-Fi, None for a site without one."""
        return self._content.network

    def set_network(self, network: Network | None) -> None:
        """From now on nodes that speak UDP are provisioned with this."""
        with self._changing():
            self._content = replace(self._content, network=network)

    @property
    def channel(self) -> Channel | None:
        """The site's radio channel, None for a site without one."""
        return self._content.channel

    def set_channel(self, channel: Channel | None) -> None:
        """From now on nodes with a radio are provisioned with this."""
        with self._changing():
            self._content = replace(self._content, channel=channel)

    def addresses(self) -> list[int]:
        """All known addresses, revoked ones included, in order."""
        return sorted(self._content.nodes)

    def node(self, address: int) -> NodeKey:
        """The entry of an address. Raises KeyStoreError for an unknown one."""
        try:
            return self._content.nodes[address]
        except KeyError:
            raise KeyStoreError(
                f"{self.path}: no key for address {address}; "
                "add it with `pbal-controller keys add` or provision the node"
            ) from None

    def get(self, address: int) -> bytes:
        """The root key (32 bytes) of an address. Raises KeyStoreError: unknown or revoked."""
        node = self.node(address)
        if node.revoked:
            raise KeyStoreError(f"the key of address {address} is revoked; provision the node anew")
        return node.root

    def add(self, address: int, eui: str, root: bytes | None = None, console: str = "") -> NodeKey:
        """Add a node; without `root` a fresh key is drawn. Raises KeyStoreError when taken."""
        node = new_node(address, eui, root, console)
        with self._changing():
            if address in self._content.nodes:
                raise KeyStoreError(
                    f"address {address} has a key already; rotate or remove it first"
                )
            self._put(node)
        return node

    def add_many(self, nodes: list[tuple[int, str, bytes]]) -> None:
        """Add several nodes with one write: (address, eui, root)."""
        fresh = [new_node(*node) for node in nodes]
        with self._changing():
            for node in fresh:
                if node.address in self._content.nodes:
                    raise KeyStoreError(f"address {node.address} has a key already")
            self._put(*fresh)

    def rotate(
        self, address: int, root: bytes | None = None, console: str | None = None
    ) -> NodeKey:
        """Replace a node's key (the node must be provisioned with the new one). `console`: how its
        console is then; None: as before.
        """
        with self._changing():
            old = self.node(address)
            node = new_node(address, old.eui, root, old.console if console is None else console)
            self._put(node)
        return node

    def revoke(self, address: int, by: str = "") -> GroupGeneration | None:
        """Never communicate with this node again, but keep the entry so that its address stays
        taken.

        The node knows the group key, so the same write draws a new one, which is returned; None
        when the node was revoked before.
        """
        with self._changing():
            old = self.node(address)
            if old.revoked:
                return None
            self._put(replace(old, revoked=True))
            made = self._draw(f"node {address} revoked", by)
        return made

    def remove(self, address: int) -> None:
        """Forget a node and free its address."""
        with self._changing():
            self.node(address)
            kept = {at: node for at, node in self._content.nodes.items() if at != address}
            self._content = replace(self._content, nodes=kept)

    def _put(self, *nodes: NodeKey) -> None:
        fresh = {node.address: node for node in nodes}
        self._content = replace(self._content, nodes=self._content.nodes | fresh)
