"""The key store's file on the disk: its plain header, and writing it so that no cut harms it."""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from pathlib import Path

from pbal_controller.documents import DocumentError, read_json
from pbal_controller.errors import KeyStoreError
from pbal_controller.secrecy import keep_private

FORMAT = "pbal-keys/1"
MAX_FILE_BYTES = 4 * 1024 * 1024
_SCRYPT_LOG2_N_RANGE = range(10, 21)


def read(path: Path) -> tuple[tuple[int, int, bytes], bytes, bytes]:
    """((scrypt cost, site, salt), nonce, ciphertext) of a file. Raises KeyStoreError."""
    try:
        keep_private(path)
        document = read_json(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        raise KeyStoreError(
            f"{path}: no key store. Create one with `pbal-controller keys create`."
        ) from None
    except (OSError, DocumentError) as error:
        raise KeyStoreError(f"{path}: cannot be read: {error}; is it a key store?") from None
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
    return (log2_n, site_id, salt), nonce, sealed


def site_of(path: Path) -> int:
    """The site whose keys a file holds, by its plain header. Raises KeyStoreError."""
    return read(path)[0][1]


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
            if os.geteuid() == 0:  # the controller must still be able to read it
                with contextlib.suppress(FileNotFoundError):
                    owner = path.stat()
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
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


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that is closed to us: reading it says so
        return True


def find_passphrase(
    passphrase_file: Path | None, credential: str, environ: dict[str, str] | None = None
) -> bytes:
    """The passphrase from a systemd credential or a file; one trailing newline is dropped.

    Raises KeyStoreError when neither exists, or when the file is readable by others.
    """
    env = dict(os.environ) if environ is None else environ
    directory = env.get("CREDENTIALS_DIRECTORY")
    given = Path(directory or ".") / credential
    if directory and _is_there(given):
        path = given
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
            "line (keys.passphrase_file or systemd's LoadCredential). A new one: "
            f"(umask 077; head -c 18 /dev/urandom | base64 > {path})"
        ) from None
    return secret.removesuffix(b"\n")
