"""The report's signature: Ed25519 (RFC 8032) over the SHA-256 of each of its files.

The private key belongs to the site: it is a file beside the key store, encrypted with the same
passphrase, and is drawn when the first report is signed. Its public half goes into every report and
into a `.pub` file that may be given to anybody. The site's message keys are not used for it: every
node holds the group key, and a node can be stolen.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pbal_controller.documents import dump_json, read_json
from pbal_controller.keys import atomic_write

from ..errors import CheckFailed, InputError

FORMAT = "pbal-report-signature/1"
FILE = "report.sig"
FILES = ("report.json", "report.html", "report.pdf")


def key_paths(store: Path) -> tuple[Path, Path]:
    """Private and public key of the site whose key store this is."""
    return store.with_suffix(".sign.pem"), store.with_suffix(".sign.pub")


def signing_key(store: Path, passphrase: bytes) -> Ed25519PrivateKey:
    """The site's signing key, drawn now if there is none. Raises InputError."""
    private, public = key_paths(store)
    if private.exists():
        try:
            found = serialization.load_pem_private_key(private.read_bytes(), passphrase)
        except (OSError, ValueError, TypeError) as exc:
            raise InputError(
                f"{private} does not open: {exc}.", "It has the key store's passphrase of old."
            ) from None
        if not isinstance(found, Ed25519PrivateKey):
            raise InputError(f"{private} is no Ed25519 key.", "Restore it from the backup.")
        return found
    made = Ed25519PrivateKey.generate()
    text = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )  # fmt: skip
    atomic_write(private, text)
    atomic_write(public, (public_hex(made) + "\n").encode(), mode=0o644)
    return made


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public key as 64 hex digits."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        .hex()
    )


def _message(site: int, digests: dict[str, str]) -> bytes:
    return dump_json([FORMAT, site, digests], sort_keys=True, separators=(",", ":")).encode()


def _digests(folder: Path) -> dict[str, str]:
    out = {}
    for name in FILES:
        try:
            out[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            raise InputError(
                f"{folder / name} is missing.", "A report is filed whole: json, html, pdf, sig."
            ) from None
    return out


def sign(folder: Path, site: int, key: Ed25519PrivateKey) -> dict[str, Any]:
    """Writes the signature of the report in a folder, and checks it as a reader would."""
    digests = _digests(folder)
    told = {
        "format": FORMAT, "site": site, "public": public_hex(key), "sha256": digests,
        "signature": key.sign(_message(site, digests)).hex(),
    }  # fmt: skip
    atomic_write(folder / FILE, (dump_json(told, indent=1) + "\n").encode(), mode=0o644)
    return verify(folder, public_hex(key))


def trusted(public: str | None, store: Path | None) -> str:
    """The public key to trust: given as hex or file, or found beside the key store."""
    if public is None:
        if store is None:
            raise InputError(
                "Whose signature is to be believed?",
                "Give the site's public key with --public HEX or FILE, or --keys keys.json.",
            )
        path = key_paths(store)[1]
    elif os.path.exists(public):
        path = Path(public)
    else:
        return _checked(public)
    try:
        return _checked(path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{path} cannot be read: {exc}.", "Name the .pub file.") from None


def _checked(text: str) -> str:
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise InputError(f"{text!r} is no public key.", "It is 64 hex digits.")
    return text.lower()


def verify(folder: Path, public: str) -> dict[str, Any]:
    """Checks a report against a public key that is trusted. Raises InputError, CheckFailed."""
    try:
        told = read_json(folder / FILE)
        signature, site = bytes.fromhex(told["signature"]), int(told["site"])
        signer, digests = str(told["public"]).lower(), dict(told["sha256"])
        right_format = told["format"] == FORMAT
    except FileNotFoundError:
        raise InputError(f"{folder} holds no signed report.", "Name its folder.") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckFailed(f"{folder / FILE} is damaged.", "Ask for the report again.") from None
    if not right_format:
        raise CheckFailed(f"{folder / FILE} is no signature of pbal's.", "Ask for it again.")
    if signer != public:
        raise CheckFailed(
            f"The report is signed by {signer[:16]}..., not by {public[:16]}...",
            "Ask the site for its public key by another road.",
        )
    now = _digests(folder)
    changed = sorted(name for name in FILES if digests.get(name) != now[name])
    if changed:
        raise CheckFailed(
            f"Changed after it was signed: {', '.join(changed)}.", "Ask for the report again."
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(
            signature, _message(site, now)
        )
    except InvalidSignature:
        raise CheckFailed(
            "The signature does not fit the report.", "Ask for the report again."
        ) from None
    return {"site": site, "public": public, "files": now}
