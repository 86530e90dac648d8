"""Root keys of the nodes, encrypted at rest.

One JSON file: the scrypt parameters, a nonce, and everything else (site, root keys, group
key) as one AES-256-GCM ciphertext whose associated data is the file's plain header. The
file is 0600, replaced atomically, and flushed to the disk before it replaces the old one.
Keys appear in no repr, no log line and no error text.

scrypt: RFC 7914; the default cost (N 2^15, r 8, p 1) takes about 0.1 s and 32 MiB on a
computer and about 0.5 s on a Raspberry Pi 4.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from pbal_controller.errors import KeyStoreError

FORMAT = "pbal-keys/1"
KEY_BYTES = 32
MAX_FILE_BYTES = 4 * 1024 * 1024
_SCRYPT_LOG2_N_RANGE = range(10, 21)


@dataclass(frozen=True)
class NodeKey:
    """One node's root key. `fingerprint` names the key without giving it away."""

    address: int
    eui: str
    root: bytes
    revoked: bool = False

    def __repr__(self) -> str:
        return f"NodeKey(address={self.address}, eui={self.eui!r}, revoked={self.revoked})"

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when the key does (hash of a 256-bit random secret)."""
        return hashlib.sha256(b"pbal key fingerprint" + self.root).hexdigest()[:16]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _derive(passphrase: bytes, salt: bytes, log2_n: int) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=1 << log2_n, r=8, p=1).derive(passphrase)


class KeyStore:
    """The key store of one site, open in memory. Every change is written at once."""

    def __init__(self, path: Path, key: bytes, salt: bytes, log2_n: int, site_id: int) -> None:
        self.path = path
        self.site_id = site_id
        self._key = key
        self._salt = salt
        self._log2_n = log2_n
        self._nodes: dict[int, NodeKey] = {}
        self._group_key = b""
        self._release_key = b""

    def __repr__(self) -> str:
        return f"KeyStore({str(self.path)!r}, site_id={self.site_id}, nodes={len(self._nodes)})"

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
        salt = secrets.token_bytes(16)
        store = cls(path, _derive(passphrase, salt, log2_n), salt, log2_n, site_id)
        if group_key is not None and len(group_key) != KEY_BYTES:
            raise KeyStoreError(f"a group key has {KEY_BYTES} bytes, not {len(group_key)}")
        store._group_key = group_key or secrets.token_bytes(KEY_BYTES)
        store._write()
        return store

    @classmethod
    def open(cls, path: Path | str, passphrase: bytes) -> KeyStore:
        """Open a store. Raises KeyStoreError when it is missing, damaged or locked."""
        path = Path(path)
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise KeyStoreError(f"{path}: larger than any key store; is it the right file?")
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise KeyStoreError(
                f"{path}: no key store. Create one with `pbal-controller keys create`."
            ) from None
        except (OSError, ValueError) as error:
            raise KeyStoreError(f"{path}: cannot be read: {error}") from None
        try:
            if document["format"] != FORMAT:
                raise KeyStoreError(
                    f"{path}: format {document['format']!r} is not {FORMAT!r}; "
                    "use the version of pbal that wrote it"
                )
            log2_n = int(document["log2_n"])
            site_id = int(document["site"])
            salt = base64.b64decode(document["salt"], validate=True)
            nonce = base64.b64decode(document["nonce"], validate=True)
            sealed = base64.b64decode(document["sealed"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise KeyStoreError(f"{path}: damaged; restore it from a backup") from None
        if log2_n not in _SCRYPT_LOG2_N_RANGE:
            raise KeyStoreError(f"{path}: damaged (scrypt cost {log2_n}); restore a backup")
        store = cls(path, _derive(passphrase, salt, log2_n), salt, log2_n, site_id)
        try:
            plain = AESGCM(store._key).decrypt(nonce, sealed, store._header())
        except InvalidTag:
            raise KeyStoreError(
                f"{path}: the passphrase does not open it, or the file was altered"
            ) from None
        store._load(json.loads(plain))
        return store

    def _header(self) -> bytes:
        return f"{FORMAT}|{self.site_id}|{self._log2_n}|{_b64(self._salt)}".encode("ascii")

    def _load(self, content: dict[str, Any]) -> None:
        self._group_key = bytes.fromhex(content["group"])
        self._release_key = bytes.fromhex(content.get("release", ""))
        for item in content["nodes"]:
            node = NodeKey(
                int(item["address"]),
                str(item["eui"]),
                bytes.fromhex(item["root"]),
                bool(item.get("revoked", False)),
            )
            self._nodes[node.address] = node

    def _write(self) -> None:
        content = {
            "group": self._group_key.hex(),
            "release": self._release_key.hex(),
            "nodes": [
                {"address": n.address, "eui": n.eui, "root": n.root.hex(), "revoked": n.revoked}
                for n in sorted(self._nodes.values(), key=lambda n: n.address)
            ],
        }
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(self._key).encrypt(nonce, json.dumps(content).encode(), self._header())
        document = {
            "format": FORMAT,
            "site": self.site_id,
            "log2_n": self._log2_n,
            "salt": _b64(self._salt),
            "nonce": _b64(nonce),
            "sealed": _b64(sealed),
        }
        atomic_write(self.path, (json.dumps(document, indent=1) + "\n").encode())

    # -- use -----------------------------------------------------------------------------

    @property
    def group_key(self) -> bytes:
        """The site group key, 32 bytes."""
        return self._group_key

    @property
    def release_key(self) -> bytes:
        """The public key (Ed25519, 32 bytes) that updates of this site's nodes are signed with.

        Empty for none. It is no secret, but it must be the right one: here nobody alters it unseen.
        """
        return self._release_key

    def set_release_key(self, public: bytes) -> None:
        """From now on nodes are provisioned with this key; b"" for none.

        Raises KeyStoreError when it has the wrong size.
        """
        if len(public) not in (0, KEY_BYTES):
            raise KeyStoreError(f"a release key has {KEY_BYTES} bytes, not {len(public)}")
        self._release_key = public
        self._write()

    def addresses(self) -> list[int]:
        """All known addresses, revoked ones included, in order."""
        return sorted(self._nodes)

    def node(self, address: int) -> NodeKey:
        """The entry of an address. Raises KeyStoreError for an unknown one."""
        try:
            return self._nodes[address]
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

    def add(self, address: int, eui: str, root: bytes | None = None) -> NodeKey:
        """Add a node; without `root` a fresh key is drawn. Raises KeyStoreError when taken."""
        if address in self._nodes:
            raise KeyStoreError(f"address {address} has a key already; rotate or remove it first")
        node = self._checked(address, eui, root)
        self._nodes[address] = node
        self._write()
        return node

    def add_many(self, nodes: list[tuple[int, str, bytes]]) -> None:
        """Add several nodes with one write: (address, eui, root)."""
        fresh = [self._checked(*node) for node in nodes]
        for node in fresh:
            if node.address in self._nodes:
                raise KeyStoreError(f"address {node.address} has a key already")
        self._nodes.update({node.address: node for node in fresh})
        self._write()

    def rotate(self, address: int, root: bytes | None = None) -> NodeKey:
        """Replace a node's key (the node must be provisioned with the new one)."""
        node = self._checked(address, self.node(address).eui, root)
        self._nodes[address] = node
        self._write()
        return node

    def revoke(self, address: int) -> None:
        """Never speak to this node again, but keep the entry so that its address stays taken."""
        old = self.node(address)
        self._nodes[address] = NodeKey(old.address, old.eui, old.root, True)
        self._write()

    def remove(self, address: int) -> None:
        """Forget a node and free its address."""
        self.node(address)
        del self._nodes[address]
        self._write()

    @staticmethod
    def _checked(address: int, eui: str, root: bytes | None) -> NodeKey:
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
        return NodeKey(address, eui.lower(), root)


def atomic_write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a power cut leaves either the old or the new content.

    Raises KeyStoreError when the directory cannot be written.
    """
    try:
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise KeyStoreError(f"{path.parent}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise KeyStoreError(f"{path}: cannot be written: {error.strerror}") from None
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def find_passphrase(
    passphrase_file: Path | None, credential: str, environ: dict[str, str] | None = None
) -> bytes:
    """The passphrase from a systemd credential or a file; one trailing newline is dropped.

    Raises KeyStoreError when neither exists, or when the file is readable by others.
    """
    env = dict(os.environ) if environ is None else environ
    directory = env.get("CREDENTIALS_DIRECTORY")
    if directory and (Path(directory) / credential).is_file():
        path = Path(directory) / credential
    elif passphrase_file is not None:
        path = passphrase_file
    else:
        raise KeyStoreError(
            f"no passphrase: set keys.passphrase_file, or give systemd LoadCredential={credential}:"
            "/etc/pbal/keys.pass"
        )
    try:
        if path is passphrase_file and path.stat().st_mode & 0o077:
            raise KeyStoreError(f"{path}: readable by others; run `chmod 600 {path}`")
        secret = path.read_bytes()
    except OSError as error:
        raise KeyStoreError(
            f"{path}: cannot be read: {error.strerror}; it holds the key store's passphrase on one "
            "line (keys.passphrase_file or systemd's LoadCredential)"
        ) from None
    return secret.removesuffix(b"\n")
