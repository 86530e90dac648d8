"""One rule for names of sites, homes, buses, feeders and boards, wherever they come in or go out.

A name ends up in TOML, CSV, SVG, HTML, logs and terminals. So it is one line of visible characters:
none that controls a terminal, breaks a line, turns the direction of writing, or that XML or UTF-8
has no form for.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

MAX_LENGTH = 64
# Control, half a surrogate pair, line and paragraph separators, and what only shapes others.
_REFUSED = {"Cc", "Cs", "Zl", "Zp", "Cf"}
# Joiners that some scripts cannot be written without.
_JOINERS = "\u200c\u200d"


def _refused(char: str) -> bool:
    if char in _JOINERS:
        return False
    code = ord(char)
    return (
        unicodedata.category(char) in _REFUSED
        or code & 0xFFFE == 0xFFFE  # no characters, says Unicode; XML forbids two of them
        or 0xFDD0 <= code <= 0xFDEF
    )


def check_name(text: str) -> str:
    """The name. Raises ValueError that names the first character it cannot have."""
    for char in text:
        if _refused(char):
            raise ValueError(
                f"has the character U+{ord(char):04X}, which is not seen; write the name anew"
            )
    if len(text) > MAX_LENGTH:
        raise ValueError(f"has {len(text)} characters, at most {MAX_LENGTH}")
    return text


def one_line(text: str) -> str:
    """Line breaks, tabs and runs of blanks, as spreadsheets have them in a cell, as one blank."""
    return " ".join(text.split())


def shown(text: str) -> str:
    """A name that came from outside, fit to be shown: what a name cannot have becomes U+FFFD."""
    return "".join("\ufffd" if _refused(char) else char for char in one_line(text))


def version_text(version: int) -> str:
    """major.minor.patch of a packed firmware version."""
    return f"{version >> 16}.{version >> 8 & 0xFF}.{version & 0xFF}"


Name = Annotated[str, Field(max_length=MAX_LENGTH), AfterValidator(check_name)]
