"""A release file that was damaged, cut or made by somebody else: refused in words."""

from __future__ import annotations

import io
import random
import warnings
import zipfile
from pathlib import Path

import pytest

from pbal_controller.errors import ReleaseError
from pbal_controller.updates import load, make
from pbal_controller.updates.release import parse
from pbal_protocol import ota
from pbal_protocol.errors import PbalError

FILES = {"pbal_node/app.mpy": bytes(range(256)) * 3, "pbal_protocol/loops.mpy": b"y" * 700}
WHOLE = make(FILES, "0.3.1", [1, 4])
DAMAGES = 4000


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bits that rotted, bytes that are missing, pieces that were swapped."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out))
        match rng.randrange(5):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at] = rng.choice((0, 0xFF, 0x7F, 0x80))
            case 2:
                del out[at : at + rng.randint(1, 40)]
            case 3:
                out[at:at] = out[rng.randrange(len(out)) :][: rng.randint(1, 40)]
            case 4:
                out[at : at + 4] = rng.randbytes(4)
        if not out:
            return b""
    return bytes(out)


def test_no_damage_is_a_traceback(tmp_path: Path) -> None:
    rng = random.Random(19)
    path = tmp_path / "r.pbal"
    data = WHOLE.to_bytes()
    # Most of it in the directory at the end, where the archive says what it is.
    refused = 0
    for n in range(DAMAGES):
        at = len(data) - 400 if n % 2 else 0
        path.write_bytes(data[:at] + damaged(data[at:], rng))
        try:
            found = load(path)
        except ReleaseError:
            refused += 1
        else:
            assert dict(found.files) == FILES, "another content was believed"
    assert refused > DAMAGES / 2


def archive(entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, content in entries:
            z.writestr(name, content)
    return out.getvalue()


def twice() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return archive([*WHOLE_ENTRIES, WHOLE_ENTRIES[1]])


WHOLE_ENTRIES = [("manifest", WHOLE.manifest), *((f"files/{n}", d) for n, d in FILES.items())]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a release"),
        (b"PK", "not a release"),
        (archive([]), "no manifest"),
        (twice(), "there twice"),
        (archive(WHOLE_ENTRIES, zipfile.ZIP_BZIP2), "another compression"),
        (archive(WHOLE_ENTRIES, zipfile.ZIP_LZMA), "another compression"),
        (archive([("manifest", bytes(9_000_000))]), "too large"),
        (archive([("manifest", b"\xff" * 40)]), "not understood"),
    ],
)
def test_what_is_no_release(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "r.pbal"
    path.write_bytes(data)
    with pytest.raises(ReleaseError, match=words):
        load(path)
    with pytest.raises(ReleaseError, match="cannot be read"):
        load(tmp_path)


LONG = "7" * 5000


@pytest.mark.parametrize(
    "text", [LONG, "\u0667", "\u00b2", "-1", "+1", " 1", "1_0", "", "0x1", "1.0"]
)
def test_numbers_of_a_manifest_are_plain_and_short(text: str) -> None:
    with pytest.raises(PbalError):
        ota.number(text)
    with pytest.raises(PbalError):
        ota.version_code(f"1.{text}.0")


@pytest.mark.parametrize(
    "line",
    [f"version 1.{LONG}.0", f"boards {LONG}", f"files {LONG} 1", f"files 1 {LONG}",
     f"{'0' * 64} {LONG} pbal_node/a.mpy", "version 1.2.3\x0bdowngrade"],
)  # fmt: skip
def test_a_hostile_line_of_a_manifest(line: str) -> None:
    lines = WHOLE.manifest.decode().split("\n")
    for at in range(1, len(lines)):
        text = "\n".join([*lines[:at], line, *lines[at:]]).encode()
        with pytest.raises(ReleaseError):
            parse(text, FILES, b"")


def test_a_release_that_would_forbid_itself_is_refused() -> None:
    """A node on which it has proven itself could not even go on with it."""
    assert make(FILES, "0.3.1", [1], minimum="0.3.1").head.minimum == 0x301
    with pytest.raises(ReleaseError, match="minimum is above"):
        make(FILES, "0.3.1", [1], minimum="0.3.2")
