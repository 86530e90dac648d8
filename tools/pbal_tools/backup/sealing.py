"""One encrypted file: a plain header, then AES-256-GCM over chunks of a megabyte.

    pbal-backup/1 {"log2_n": 15, "made_s": ..., "salt": ..., "site": 7, "version": ...}\\n
    chunk, chunk, ... each its ciphertext and 16 bytes of tag

The key is scrypt's (RFC 7914) of the passphrase and the salt, so no other file has it. The
nonce of a chunk is its number and whether it is the last (the STREAM construction, Hoang and
others, CRYPTO 2015): chunks that were left out, exchanged or cut off do not open. The header is
the associated data of every chunk.
"""

import base64
import io
import secrets
from dataclasses import asdict, dataclass
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from pbal_controller.documents import DocumentError, dump_json, load_json

from ..errors import InputError, PeerError

MAGIC = b"pbal-backup/1 "
CHUNK = 1 << 20
_TAG = 16
_HEADER_MOST = 4096
_COSTS = range(10, 21)


@dataclass(frozen=True)
class Header:
    """The part of a backup that is not encrypted. `made_s` is unix time."""

    site: int
    made_s: int
    version: str
    salt: str
    log2_n: int = 15

    def line(self) -> bytes:
        """The first line of the file."""
        return MAGIC + dump_json(asdict(self), sort_keys=True).encode() + b"\n"


def _cipher(header: Header, passphrase: bytes) -> AESGCM:
    salt = base64.b64decode(header.salt)
    return AESGCM(Scrypt(salt=salt, length=32, n=1 << header.log2_n, r=8, p=1).derive(passphrase))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((last,))


class Sealer(io.RawIOBase):
    """A stream that encrypts what is written to it. `finish` makes the file whole."""

    def __init__(self, out: IO[bytes], passphrase: bytes, site: int, made_s: int, version: str,
                 log2_n: int = 15) -> None:  # fmt: skip
        super().__init__()
        salt = base64.b64encode(secrets.token_bytes(16)).decode()
        self.header = Header(site, made_s, version, salt, log2_n)
        self._out = out
        self._line = self.header.line()
        self._cipher = _cipher(self.header, passphrase)
        self._buffer = bytearray()
        self._number = 0
        out.write(self._line)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """Takes bytes; a whole chunk is written once something follows it."""
        taken = bytes(data)  # type: ignore[call-overload]
        self._buffer += taken
        while len(self._buffer) > CHUNK:
            self._chunk(bytes(self._buffer[:CHUNK]), last=False)
            del self._buffer[:CHUNK]
        return len(taken)

    def finish(self) -> None:
        """The last chunk."""
        self._chunk(bytes(self._buffer), last=True)
        self._buffer.clear()

    def _chunk(self, data: bytes, *, last: bool) -> None:
        self._out.write(self._cipher.encrypt(_nonce(self._number, last), data, self._line))
        self._number += 1


def read_header(file: IO[bytes], name: str) -> tuple[Header, bytes]:
    """The header and its line. Raises InputError: no backup, or of a newer version."""
    line = file.readline(_HEADER_MOST)
    if not line.startswith(b"pbal-backup/") or not line.endswith(b"\n"):
        raise InputError(f"{name} is no backup of pbal.", "Name a file of pbal backup create.")
    if not line.startswith(MAGIC):
        kind = line.split(b" ")[0].decode(errors="replace")
        raise InputError(f"{name} is a {kind}, made by a newer pbal.", "Install that version.")
    try:
        found = load_json(line[len(MAGIC) :])
        header = Header(
            int(found["site"]), int(found["made_s"]), str(found["version"]),
            str(found["salt"]), int(found["log2_n"]),
        )  # fmt: skip
        good = len(base64.b64decode(header.salt, validate=True)) == 16 and header.log2_n in _COSTS
    except (DocumentError, KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise PeerError(f"{name} is damaged in its first line.", "Take another backup.")
    return header, line


class Opener(io.RawIOBase):
    """A stream of what a Sealer was given. Raises PeerError where it does not open."""

    def __init__(self, file: IO[bytes], name: str, passphrase: bytes) -> None:
        super().__init__()
        self._file = file
        self._name = name
        self.header, self._line = read_header(file, name)
        self._cipher = _cipher(self.header, passphrase)
        self._next = file.read(CHUNK + _TAG)
        self._number = 0
        self._data = b""
        self.ended = False
        self._fill()

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; empty at the end, which was then authentic."""
        out = bytearray()
        while size < 0 or len(out) < size:
            if not self._data:
                if self.ended:
                    break
                self._fill()
                continue
            most = len(self._data) if size < 0 else size - len(out)
            out += self._data[:most]
            self._data = self._data[most:]
        return bytes(out)

    def _fill(self) -> None:
        chunk, self._next = self._next, self._file.read(CHUNK + _TAG)
        last = not self._next
        try:
            self._data = self._cipher.decrypt(_nonce(self._number, last), chunk, self._line)
        except (InvalidTag, ValueError):
            if self._number == 0:
                raise PeerError(
                    f"{self._name} does not open: another passphrase, or it was changed.",
                    "Give the passphrase it was made with, or take another backup.",
                ) from None
            raise PeerError(
                f"{self._name} is damaged or cut after {self._number} MB.", "Take another backup."
            ) from None
        self._number += 1
        self.ended = last
