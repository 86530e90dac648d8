"""The lock of a node's console: its secret, what the node keeps of it, and where it is found here.

The secret comes from the node's root key, so a person who may open the key store may open the
console. The node keeps salt, rounds and digest only: reading its lock file does not tell the
secret.
"""

import hashlib
import os
import re
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_controller.documents import dump_json
from pbal_controller.keys import KeyStore
from pbal_controller.secrecy import no_core_dump
from pbal_protocol import kdf

from .errors import ConsoleLocked, InputError

ROUNDS = 1000  # of SHA-256: what a try costs the node; the secret itself has 256 bits
DIGITS = 64
_SALT = b"pbal console/1"
REMEDY = (
    "Give the key store (--keys, --passphrase-file) or --secret-file, or hold the board's button "
    "while you reset it."
)

Unlock = Callable[[str], list[str]]
"""Gives the secrets to try for a node by its EUI; raises ConsoleLocked where there is none."""

KEYS = Path("/var/lib/pbal/keys.json")
Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys", "-k", help=f"The site's key store, for a locked console. Default: {KEYS}."
    ),
]
PassFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Its passphrase (mode 600). Default: systemd, or ask."),
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-file", help="The secret of a locked console: a file (mode 600), or - for stdin."
    ),
]


def secret(root: bytes, site_id: int, address: int) -> str:
    """The secret of a node's console, 64 hex digits: HKDF-SHA256 of its root key."""
    info = b"console" + struct.pack("<IH", site_id, address)
    return kdf.hkdf_sha256(root, _SALT, info).hex()


def digest(line: str, salt: str, rounds: int = ROUNDS) -> str:
    """What the node keeps of a secret. As in firmware/boot.py and pbal_node/console.py."""
    found = hashlib.sha256(salt.encode() + line.encode()).digest()
    for _ in range(rounds):
        found = hashlib.sha256(found).digest()
    return found.hex()


@dataclass(frozen=True)
class Lock:
    """The content of a node's /cfg/console.json: what each of `digests` was made of opens it."""

    salt: str
    rounds: int
    digests: tuple[str, ...]

    @classmethod
    def make(cls, line: str, old: "Lock | None" = None) -> "Lock":
        """A lock for a secret. With the old lock's salt, so that `both` can join them."""
        salt, rounds = (old.salt, old.rounds) if old else (os.urandom(16).hex(), ROUNDS)
        return cls(salt, rounds, (digest(line, salt, rounds),))

    @classmethod
    def read(cls, data: dict[str, Any]) -> "Lock | None":
        """From what a node has; None where it has no lock, or one that nothing opens."""
        salt, rounds, digests = data.get("salt"), data.get("rounds"), data.get("digests")
        if not isinstance(salt, str) or not isinstance(digests, list) or not digests:
            return None
        if not isinstance(rounds, int) or not 1 <= rounds <= 10 * ROUNDS:
            return None
        return cls(salt, rounds, tuple(str(item) for item in digests))

    def both(self, old: "Lock") -> "Lock":
        """A lock that the secret of this one or of the old one opens; both have the same salt."""
        return replace(self, digests=tuple(dict.fromkeys(self.digests + old.digests)))

    def file(self) -> bytes:
        """As the node reads it."""
        return dump_json(asdict(self), separators=(",", ":")).encode()


def nobody(eui: str) -> list[str]:
    """For work that has no key store. Raises ConsoleLocked."""
    raise ConsoleLocked(f"The console of node {eui} is locked.", REMEDY)


def of_store(store: KeyStore) -> Unlock:
    """The secrets of the nodes in a key store, of those that are revoked too."""

    def found(eui: str) -> list[str]:
        nodes = [store.node(address) for address in store.addresses()]
        nodes.sort(key=lambda node: node.revoked)
        lines = [secret(n.root, store.site_id, n.address) for n in nodes if n.eui == eui]
        if not lines:
            raise ConsoleLocked(
                f"The console of node {eui} is locked, and the key store of site {store.site_id} "
                "does not know it.",
                "Take the key store of its site, or hold the board's button while you reset it; "
                "without either, erase it: pbal flash --erase --forget.",
            )
        return lines

    return found


def read_secret(path: Path) -> str:
    """A secret from a file or from standard input ("-"). Raises InputError."""
    no_core_dump()
    if str(path) == "-":
        text = sys.stdin.readline()
    else:
        try:
            if path.stat().st_mode & 0o077:
                raise InputError(f"{path} can be read by others.", f"chmod 600 {path}")
            text = path.read_text("ascii", "replace")
        except OSError as exc:
            raise InputError(f"{path} cannot be read: {exc.strerror}.", "Check it.") from None
    if not re.fullmatch(r"[0-9a-f]{64}", text.strip()):
        raise InputError(
            f"{path} holds no console secret: {DIGITS} hex digits.",
            "Make it:  pbal provision secret ADDRESS --out FILE",
        )
    return text.strip()


def write_secret(path: Path, line: str) -> bool:
    """Writes a secret to a new file (mode 600), or to standard output for "-"; False for the
    latter. Raises InputError where the file exists.
    """
    if str(path) == "-":
        sys.stdout.write(line + "\n")
        return False
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(line + "\n")
    except FileExistsError:
        raise InputError(f"{path} exists.", "Name a file that does not.") from None
    return True


def known_to(secret_file: Path | None, store: KeyStore) -> Unlock:
    """The secret in the file, if there is one; else what the key store knows. Raises InputError."""
    return of_store(store) if secret_file is None else opener(secret_file)


def opener(
    secret_file: Path | None = None, keys: Path | None = None, passphrase_file: Path | None = None
) -> Unlock:
    """The source of the secret, as the options say; the key store is opened when it is first
    needed.

    Raises InputError at once for a secret file that holds none and a key store that is not there.
    """
    if secret_file is not None:
        line = read_secret(secret_file)
        return lambda eui: [line]
    if keys is not None and not keys.exists():
        raise InputError(f"There is no key store {keys}.", "Check --keys.")
    path = keys or KEYS
    lock = threading.Lock()  # several boards at once ask for one passphrase
    made: list[Unlock] = []

    def found(eui: str) -> list[str]:
        from .keystore import open_store

        with lock:
            if not made:
                if not path.exists():
                    return nobody(eui)
                made.append(of_store(open_store(path, passphrase_file)))
        return made[0](eui)

    return found
