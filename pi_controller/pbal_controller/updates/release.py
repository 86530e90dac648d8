"""An application release on a computer: one file that holds manifest, signature and contents.

The file is a ZIP archive (so that anyone can look inside) with the entries `manifest`,
`signature` (64 bytes, absent until it is signed) and `files/PATH`. The manifest's form and what
is signed are `pbal_protocol.ota`'s; the stream a node receives is the manifest followed by the
files in the manifest's order.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pbal_controller.archives import ARCHIVE_DAMAGE
from pbal_controller.errors import ReleaseError
from pbal_controller.naming import version_text
from pbal_protocol import ota
from pbal_protocol.errors import PbalError

SUFFIX = ".pbal"
SIZE_MAX = 2 * 1024 * 1024
# A date for the archive's entries: the same release is the same bytes whenever it is built.
_DATE = (2025, 1, 1, 0, 0, 0)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Release:
    """A release: `files` maps a path below the slot to its contents, in stream order."""

    manifest: bytes
    files: Mapping[str, bytes]
    signature: bytes = b""
    head: ota.Head = field(default_factory=ota.Head, compare=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the manifest: what names and what is signed."""
        return hashlib.sha256(self.manifest).digest()

    @property
    def version(self) -> str:
        """major.minor.patch."""
        return version_text(self.head.version)

    @property
    def stream(self) -> bytes:
        """What a node receives."""
        return self.manifest + b"".join(self.files.values())

    def signed_by(self, key: bytes) -> bool:
        """Whether the signature is the one of this public key (32 bytes)."""
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(self.signature, ota.signed(self.digest))
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_bytes(self) -> bytes:
        """The release file's contents; the same for the same release."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            entries = {"manifest": self.manifest}
            if self.signature:
                entries["signature"] = self.signature
            entries |= {f"files/{path}": data for path, data in self.files.items()}
            for name, data in entries.items():
                info = zipfile.ZipInfo(name, _DATE)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, data)
        return out.getvalue()


def make(
    files: Mapping[str, bytes],
    version: str,
    boards: list[int],
    *,
    downgrade: bool = False,
    minimum: str = "",
) -> Release:
    """A release, not yet signed, of `files` (path below the slot -> contents).

    `minimum`: a node on which it has proven itself never runs an older version than this again.
    Raises ReleaseError for a path, version or board the format cannot carry.
    """
    ordered = dict(sorted(files.items()))
    lines = [ota.MAGIC, f"version {version}", "boards " + " ".join(map(str, sorted(boards)))]
    lines.append(f"files {len(ordered)} {sum(map(len, ordered.values()))}")
    if downgrade:
        lines.append("downgrade")
    if minimum:
        lines.append(f"minimum {minimum}")
    lines += [
        f"{hashlib.sha256(data).hexdigest()} {len(data)} {path}" for path, data in ordered.items()
    ]
    manifest = ("\n".join(lines) + "\n").encode()
    return parse(manifest, ordered, b"")


def parse(manifest: bytes, files: Mapping[str, bytes], signature: bytes) -> Release:
    """Check a manifest against the files beside it. Raises ReleaseError."""
    if len(manifest) > ota.MANIFEST_MAX:
        raise ReleaseError(f"the manifest has {len(manifest)} bytes, at most {ota.MANIFEST_MAX}")
    if signature and len(signature) != 64:
        raise ReleaseError(f"the signature has {len(signature)} bytes, not 64")
    head = ota.Head()
    ordered: dict[str, bytes] = {}
    try:
        for line in manifest.decode("ascii").removesuffix("\n").split("\n"):
            if ordered or not head.line(line):
                digest, size, path = ota.entry(line)
                data = files.get(path)
                if data is None:
                    raise ReleaseError(f"the file {path} is missing")
                if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
                    raise ReleaseError(f"the file {path} is not what the manifest says")
                ordered[path] = data
    except (PbalError, UnicodeDecodeError) as error:
        raise ReleaseError(f"the manifest is not understood ({error})") from None
    if len(ordered) != head.files or sum(map(len, ordered.values())) != head.size:
        raise ReleaseError("the manifest's count or size of files is wrong")
    if head.minimum > head.version:
        raise ReleaseError("the minimum is above the release's own version")
    if set(files) - set(ordered):
        raise ReleaseError(f"{sorted(set(files) - set(ordered))[0]} is not in the manifest")
    return Release(manifest, ordered, signature, head)


def load(path: Path) -> Release:
    """Read and check a release file; the signature is not judged. Raises ReleaseError."""
    try:
        if path.stat().st_size > SIZE_MAX:
            raise ReleaseError(f"{path}: too large for a release")
        with zipfile.ZipFile(path) as archive:
            items = archive.infolist()
            if sum(item.file_size for item in items) > 4 * SIZE_MAX:
                raise ReleaseError(f"{path}: too large for a release")
            if len({item.filename for item in items}) != len(items):
                raise ReleaseError(f"{path}: not a release (a name in it is there twice)")
            if any(item.compress_type not in _METHODS for item in items):
                raise ReleaseError(f"{path}: not a release, or damaged (another compression)")
            entries = {item.filename: archive.read(item) for item in items}
    except OSError as error:
        why = error.strerror or error
        raise ReleaseError(f"{path}: cannot be read ({why})") from None
    except ARCHIVE_DAMAGE as error:
        raise ReleaseError(f"{path}: not a release, or damaged ({error})") from None
    if "manifest" not in entries:
        raise ReleaseError(f"{path}: not a release (no manifest inside)")
    files = {n.removeprefix("files/"): d for n, d in entries.items() if n.startswith("files/")}
    try:
        return parse(entries["manifest"], files, entries.get("signature", b""))
    except ReleaseError as error:
        raise ReleaseError(f"{path}: {error}") from None
