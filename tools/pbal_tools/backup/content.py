"""What is in a backup: a tar stream whose first member lists the others with their SHA-256."""

import hashlib
import io
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pbal_controller.config import Config
from pbal_controller.documents import DocumentError, dump_json, load_json

from ..errors import InputError, PeerError

MANIFEST = "manifest.json"
KEYS, JOURNAL, MAIN = "keys.json", "journal.db", "config/pbal.toml"
_DROP_INS, _UPLINK = "config/conf.d/", "uplink/"
_MANIFEST_MOST = 1 << 20
_PART = 1 << 20


@dataclass(frozen=True)
class Item:
    """One file: its name in the backup, where it is here, and its SHA-256, hex."""

    name: str
    path: Path
    digest: str


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def gathered(config: Config, config_file: Path) -> Iterator[list[Item]]:
    """The files of a site as they are now. The journal is copied by SQLite, also while it is used.

    Raises InputError: a file cannot be read.
    """
    names: dict[str, Path] = {MAIN: config_file}
    drop_ins = config_file.parent / "conf.d"
    if drop_ins.is_dir():
        names |= {_DROP_INS + path.name: path for path in sorted(drop_ins.glob("*.toml"))}
    names[KEYS] = config.keys.file
    uplink = config.uplink
    for key in ("ca", "crl", "certificate", "key"):
        path = getattr(uplink, key, None)
        if path is not None:
            names[_UPLINK + key] = path
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=_beside(config.journal.path)) as folder:
        if config.journal.path.exists():
            copy = Path(folder) / JOURNAL
            try:
                source = f"file:{config.journal.path}?mode=ro"
                with (
                    closing(sqlite3.connect(source, uri=True)) as journal,
                    closing(sqlite3.connect(copy)) as target,
                ):
                    journal.execute("PRAGMA busy_timeout = 5000")
                    journal.backup(target)
            except sqlite3.Error as exc:
                raise InputError(
                    f"The journal {config.journal.path} cannot be copied: {exc}.",
                    "Run it as root or as the journal's owner; is there room for a copy?",
                ) from None
            names[JOURNAL] = copy
        try:
            yield [Item(name, path, _digest(path)) for name, path in names.items()]
        except OSError as exc:
            raise InputError(
                f"{exc.filename or 'A file'} cannot be read: {exc.strerror}.",
                "Run it as root or as the user of the controller.",
            ) from None


def _beside(journal: Path) -> Path | None:
    """A place as private as the journal's: on its disk, in its folder if possible."""
    return journal.parent if os.access(journal.parent, os.W_OK) else None


def write(out: IO[bytes], items: list[Item]) -> None:
    """The tar stream."""
    listing = dump_json({item.name: item.digest for item in items}).encode()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        head = tarfile.TarInfo(MANIFEST)
        head.size = len(listing)
        tar.addfile(head, io.BytesIO(listing))
        for item in items:
            member = tarfile.TarInfo(item.name)
            member.size = item.path.stat().st_size
            member.mode = 0o600
            with item.path.open("rb") as file:
                tar.addfile(member, file)


def unpack(stream: IO[bytes], name: str, folder: Path) -> dict[str, Path]:
    """All files into a folder, under names of ours; each is what its hash says.

    Raises PeerError: the content is not what a backup has.
    """
    out: dict[str, Path] = {}
    wrong = PeerError(f"{name} holds something else than a backup.", "Take another backup.")
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            expected: dict[str, str] = {}
            for member in tar:
                data = tar.extractfile(member) if member.isreg() else None
                if data is None:
                    raise wrong
                if not expected:
                    if member.name != MANIFEST or member.size > _MANIFEST_MOST:
                        raise wrong
                    expected = {str(k): str(v) for k, v in load_json(data.read()).items()}
                    if not all(_known(one) for one in expected):
                        raise wrong
                    continue
                if member.name not in expected or member.name in out:
                    raise wrong
                path = folder / f"{len(out)}"
                hasher = hashlib.sha256()
                with path.open("xb") as file:
                    while part := data.read(_PART):
                        hasher.update(part)
                        file.write(part)
                if hasher.hexdigest() != expected[member.name]:
                    raise PeerError(
                        f"{name}: {member.name} changed while it was backed up.",
                        "Make the backup again.",
                    )
                out[member.name] = path
            # Read to the end: only then is the last chunk authenticated.
            while stream.read(_PART):
                pass
    except (tarfile.TarError, DocumentError, AttributeError, EOFError):
        raise wrong from None
    if set(out) != set(expected):
        raise wrong
    return out


def _known(name: str) -> bool:
    if name in (KEYS, JOURNAL, MAIN):
        return True
    for start in (_DROP_INS, _UPLINK):
        rest = name.removeprefix(start)
        if rest != name and rest and "/" not in rest and not rest.startswith("."):
            return True
    return False
