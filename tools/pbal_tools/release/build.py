"""Compiles the node's application into a release: the same bytes as `pbal flash` installs."""

import importlib.util
import os
import runpy
import tempfile
import time
from pathlib import Path

from pbal_build import build_files, compile_file, load_board
from pbal_controller.updates import Release, make
from pbal_protocol import ota
from pbal_protocol.errors import PbalError

from ..errors import InputError

VERSION_TEXT = '''"""The firmware's version, as Hello and Read Device Identification tell it."""

VERSION = "{version}"
VERSION_CODE = {code:#08x}  # major << 16 | minor << 8 | patch
BUILD_S = {built_s}  # site time cannot be before this (S4)
'''
_DAY_S = 86400
_VERSION_FILE = "pbal_node/version.mpy"


def application(board: str) -> dict[str, bytes]:
    """The files of a slot (path below it -> contents), compiled for a board."""
    return {
        path.removeprefix("/lib/"): data
        for path, data in build_files(board).items()
        if path.startswith("/lib/")
    }


def build_time_s() -> int:
    """Unix time that a release carries: SOURCE_DATE_EPOCH for a reproducible build
    (reproducible-builds.org), else the beginning of yesterday, UTC, so that a Pi whose clock is a
    little behind still sends a time that its nodes accept. Never before the time in the sources.
    """
    try:
        now = int(os.environ["SOURCE_DATE_EPOCH"])
    except (KeyError, ValueError):
        now = int(time.time()) // _DAY_S * _DAY_S - _DAY_S
    return max(now, _source_build_s())


def _source_build_s() -> int:
    spec = importlib.util.find_spec("pbal_node")
    folders = (spec.submodule_search_locations or []) if spec else []
    found = [runpy.run_path(str(Path(folder, "version.py")))["BUILD_S"] for folder in folders]
    return max(found, default=0)


def version_file(version: str) -> bytes:
    """pbal_node/version.mpy of that version. Raises InputError for what is none."""
    try:
        code = ota.version_code(version)
    except PbalError:
        raise InputError(
            f"{version!r} is not a version.", "Give three numbers up to 255, e.g. 0.2.0."
        ) from None
    with tempfile.TemporaryDirectory(prefix="pbal-release-") as folder:
        source = Path(folder, "version.py")
        text = VERSION_TEXT.format(version=version, code=code, built_s=build_time_s())
        source.write_text(text)
        return compile_file(source, "pbal_node.version")


def build(
    boards: list[str], version: str, *, downgrade: bool = False, minimum: str = ""
) -> Release:
    """A release for these boards; `minimum` as in `make`.

    Raises InputError when they need different files, and for a minimum that is no version up to
    this one; BuildError.
    """
    try:
        if minimum and ota.version_code(minimum) > ota.version_code(version):
            raise InputError(
                f"The minimum {minimum} is above the release's own version {version}.",
                "Give the oldest version that nodes may still go back to.",
            )
    except PbalError:
        raise InputError(
            f"{minimum!r} or {version!r} is not a version.", "Give three numbers, e.g. 0.2.0."
        ) from None
    found = [application(board) for board in boards]
    if any(files != found[0] for files in found[1:]):
        raise InputError(
            f"The application differs between {', '.join(boards)}.", "Build one release for each."
        )
    files = found[0] | {_VERSION_FILE: version_file(version)}
    ids = [int(load_board(board)["board"]["id"]) for board in boards]
    return make(files, version, ids, downgrade=downgrade, minimum=minimum)
