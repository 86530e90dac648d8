"""What a commissioning has done so far: one JSON file in its folder, written after each step.

A run that was interrupted resumes where it stopped. What has to be put back (settings changed for a
test) is recorded before it is changed, so that no crash of this laptop leaves it changed.
"""

import os
import time
from pathlib import Path
from typing import Any

from pbal_controller.documents import dump_json, read_json
from pbal_controller.errors import KeyStoreError
from pbal_controller.keys import atomic_write

from ..errors import InputError
from .reserved import Reserved

FORMAT = "pbal-commission/1"
FILE = "commission.json"
# Over a line there is no survey.
STEPS = ("scan", "survey", "contact", "phases", "calibrate", "transfer", "report")


class State:
    """The record of one segment's commissioning; `data` is what the file holds."""

    def __init__(self, folder: Path, data: dict[str, Any]) -> None:
        self.folder = folder
        self.data = data
        self._reserved = Reserved(folder, data.get("counters", {}))

    @classmethod
    def open(cls, folder: Path, site_id: int, bus: str) -> "State":
        """Reads the folder's record, or begins one.

        Raises InputError: of another site or bus, damaged, or the folder cannot be made.
        """
        path = folder / FILE
        if not path.exists():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise InputError(
                    f"The folder {folder} cannot be made: {exc.strerror}.",
                    "Name another one with --folder.",
                ) from None
            return cls(
                folder,
                {
                    "format": FORMAT, "site": site_id, "bus": bus, "begun_s": int(time.time()),
                    "steps": {}, "homes": {}, "restore": {},
                },
            )  # fmt: skip
        state = cls.read(folder)
        if state.data["site"] != site_id or state.data["bus"] != bus:
            raise InputError(
                f"{path} is of site {state.data['site']}, bus {state.data['bus']}.",
                "Name another folder with --folder.",
            )
        return state

    @classmethod
    def read(cls, folder: Path) -> "State":
        """Reads a record that must be there. Raises InputError."""
        path = folder / FILE
        try:
            data = read_json(path)
        except FileNotFoundError:
            raise InputError(
                f"There is no commissioning in {folder}.", "Begin one:  pbal commission run"
            ) from None
        except NotADirectoryError:
            raise InputError(
                f"{folder} is a file; a commissioning is kept in a folder.",
                "Name that folder, e.g. commission-7-north (site 7, bus north).",
            ) from None
        except OSError as exc:
            raise InputError(f"{path} cannot be read: {exc.strerror}.", "Check it.") from None
        except ValueError as exc:
            raise InputError(
                f"{path} is damaged: {exc}.",
                "Put a copy of it back, or begin anew in another folder with --folder.",
            ) from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InputError(f"{path} is no record of a commissioning.", "Name another folder.")
        return cls(folder, data)

    def save(self) -> None:
        """Writes the record, whole or not at all, and to the disk. Raises InputError."""
        try:
            atomic_write(self.folder / FILE, dump_json(self.data, indent=1).encode() + b"\n")
        except KeyStoreError as exc:
            raise InputError(f"{exc}", "Free some space, or name another folder.") from None

    # -- steps ---------------------------------------------------------------------------

    def done(self, step: str) -> bool:
        """Whether a step ended well."""
        return bool(self.data["steps"].get(step, {}).get("ok"))

    def step(self, name: str, ok: bool, words: str = "", **result: Any) -> None:
        """Writes down how a step ended."""
        self.data["steps"][name] = {
            "ok": ok, "at_s": int(time.time()), "words": words, **result,
        }  # fmt: skip
        self.save()

    def forget(self, first: str) -> None:
        """Takes a step and everything after it as not done."""
        for name in STEPS[STEPS.index(first) :]:
            self.data["steps"].pop(name, None)
            for home in self.data["homes"].values():
                home.pop(name, None)
        self.save()

    def home(self, address: int) -> dict[str, Any]:
        """The notes on one home: a dictionary by step."""
        found: dict[str, Any] = self.data["homes"].setdefault(str(address), {})
        return found

    # -- counters ------------------------------------------------------------------------

    def reserve(self, who: int | str, key: str, at_least: int, count: int) -> int:
        """Reserves counters of frames to a node, or of beacons; returns the first."""
        return self._reserved.reserve(str(who), key, at_least, count)


def default_folder(site_id: int, bus: str) -> Path:
    """Where a commissioning is kept unless --folder says otherwise."""
    return Path(os.curdir) / f"commission-{site_id}-{bus}"
