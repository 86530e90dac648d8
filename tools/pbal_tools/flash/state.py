"""How far the flashing of a board came, so that it need not begin anew after a pulled cable.

One small file for each board, named by its MAC address; what was verified counts only after the
board on the port has reported the same MAC.
"""

import os
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from pbal_controller.documents import dump_json, read_json


def state_folder() -> Path:
    """Where the field tool remembers what it did ($XDG_STATE_HOME/pbal)."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "pbal" / "flash"


def cache_folder() -> Path:
    """Where downloaded images are kept ($XDG_CACHE_HOME/pbal)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pbal" / "images"


def pins_file() -> Path:
    """Where the images pinned on this computer are noted ($XDG_CONFIG_HOME/pbal)."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "pbal" / "images.json"


@dataclass
class Progress:
    """What is known to be done on one board."""

    mac: str
    board: str = ""
    image_sha256: str = ""
    port: str = ""


def load(folder: Path, mac: str) -> Progress:
    """What is remembered of a board; an empty record if nothing, or nothing legible."""
    try:
        mac = mac.lower()
        found = read_json(_file(folder, mac))
        return Progress(
            mac, str(found["board"]), str(found["image_sha256"]), str(found.get("port", ""))
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Progress(mac)


def save(folder: Path, progress: Progress) -> None:
    """Remembers a board, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "w") as file:
        file.write(dump_json(asdict(progress)))
    os.replace(name, _file(folder, progress.mac))


def last_on_port(folder: Path, port: str) -> Progress | None:
    """The board that was last flashed on this port, if any is remembered."""
    records = []
    for path in folder.glob("*.json"):
        mac = path.stem.replace("-", ":")
        progress = load(folder, mac)
        if progress.port == port:
            records.append((path.stat().st_mtime, progress))
    return max(records, key=lambda item: item[0])[1] if records else None


def _file(folder: Path, mac: str) -> Path:
    return folder / f"{re.sub('[^0-9a-f]', '-', mac.lower())}.json"
