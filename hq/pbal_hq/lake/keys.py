"""The lake's keys, and Parquet's modular encryption with them (AES-256-GCM).

Each file has a random key of its own, which is in its footer, wrapped with a key of the lake,
beside that key's name. So keys can rotate: the last of the key file wraps those of new files, and
the others still open what they have wrapped.

A key file has a line `NAME HEX` for each key, 32 bytes; lines that begin with # are notes.
"""

from __future__ import annotations

import base64
import datetime
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet.encryption as pe
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pbal_hq.errors import LakeError

CREDENTIAL = "pbal-lake-keys"
_LINE = re.compile(r"([A-Za-z0-9_.-]{1,64})\s+([0-9a-fA-F]{64})")
_NONCE = 12


@dataclass(frozen=True)
class KeyRing:
    """Keys by name, in the order of the file. The last one is for new files."""

    source: str
    keys: Mapping[str, bytes] = field(repr=False)

    @property
    def newest(self) -> str:
        """The name of the key for new files."""
        return list(self.keys)[-1]

    def wrap(self, name: str, secret: bytes) -> bytes:
        """A file's key, wrapped."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self.keys[name]).encrypt(nonce, secret, name.encode())
        return base64.b64encode(nonce + sealed)

    def unwrap(self, name: str, wrapped: str) -> bytes:
        """A file's key. Raises LakeError."""
        if name not in self.keys:
            raise LakeError(f"the key {name!r} is missing in {self.source}")
        data = base64.b64decode(wrapped)
        try:
            return AESGCM(self.keys[name]).decrypt(data[:_NONCE], data[_NONCE:], name.encode())
        except InvalidTag:
            raise LakeError(
                f"the key {name!r} in {self.source} is another one than it was written with"
            ) from None


def find_keys(key_file: Path | None, environ: Mapping[str, str] | None = None) -> KeyRing | None:
    """The keys from a systemd credential or the file; None where neither is there to be used.

    Raises LakeError: the file that is configured is missing, readable by others or damaged.
    """
    folder = (os.environ if environ is None else environ).get("CREDENTIALS_DIRECTORY")
    if folder and (Path(folder) / CREDENTIAL).is_file():
        return _read(Path(folder) / CREDENTIAL)
    if key_file is None:
        return None
    try:
        if key_file.stat().st_mode & 0o077:
            raise LakeError(f"{key_file}: readable by others; run `chmod 600 {key_file}`")
    except OSError as error:
        raise LakeError(
            f"{key_file}: {error.strerror}; restore it from a backup. The first key of a lake: "
            "pbal-hq lake key"
        ) from None
    return _read(key_file)


def _read(path: Path) -> KeyRing:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LakeError(f"{path}: cannot be read: {error}") from None
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise LakeError(f"{path}: line {number}: needs NAME and 64 hex digits")
        if found[1] in keys:
            raise LakeError(f"{path}: line {number}: there are two keys {found[1]!r}")
        keys[found[1]] = bytes.fromhex(found[2])
    if not keys:
        raise LakeError(f"{path}: has no key; pbal-hq lake key adds one")
    return KeyRing(str(path), keys)


def with_new_key(text: str, today: datetime.date) -> tuple[str, str]:
    """A key file's text with a fresh key at its end, and that key's name."""
    taken = {line.split()[0] for line in text.splitlines() if line.strip()}
    name = next(name for n in range(1, 10_000) if (name := f"{today:%Y-%m-%d}.{n}") not in taken)
    head = (
        text or "# The lake's keys. The last one is for new files; all others still open theirs.\n"
    )
    return f"{head.rstrip()}\n{name} {secrets.token_hex(32)}\n", name


class _Kms(pe.KmsClient):  # type: ignore[misc]
    """pyarrow's view of the keys."""

    def __init__(self, ring: KeyRing) -> None:
        super().__init__()
        self._ring = ring

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return self._ring.wrap(master_key_identifier, bytes(key_bytes))

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return self._ring.unwrap(master_key_identifier, wrapped_key)


class Sealing:
    """What pyarrow needs to write and read the lake's files; without keys, in the clear."""

    def __init__(self, ring: KeyRing | None) -> None:
        self.ring = ring
        self._connection = pe.KmsConnectionConfig()
        self._factory = None if ring is None else pe.CryptoFactory(lambda _: _Kms(ring))

    def to_write(self) -> Any:
        """For a ParquetWriter. Each file has keys of its own, so ask for each."""
        if self._factory is None or self.ring is None:
            return None
        how = pe.EncryptionConfiguration(
            footer_key=self.ring.newest, uniform_encryption=True, data_key_length_bits=256,
            double_wrapping=False,
        )  # fmt: skip
        return self._factory.file_encryption_properties(self._connection, how)

    def to_read(self) -> Any:
        """For a ParquetFile; files in the clear are read, too."""
        if self._factory is None:
            return None
        return self._factory.file_decryption_properties(
            self._connection, pe.DecryptionConfiguration()
        )

    def to_scan(self) -> Any:
        """For a dataset."""
        import pyarrow.dataset as ds

        if self._factory is None:
            return ds.ParquetFileFormat()
        how = ds.ParquetDecryptionConfig(
            self._factory, self._connection, pe.DecryptionConfiguration()
        )
        return ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(decryption_config=how)
        )
