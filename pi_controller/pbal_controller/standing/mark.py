"""A mark beside the key store that says which journal this site has, and how far it had come.

A journal alone cannot tell that it is new where an older one was lost, or that it was set back to
an older copy. The mark is one line of JSON, replaced atomically at each start, stop, quarantine
and quarter of an hour, after the journal has counted up.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pbal_controller.documents import dump_json, read_json
from pbal_controller.errors import KeyStoreError
from pbal_controller.keys import atomic_write
from pbal_controller.standing.standing import ADOPT, Reason

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """Which journal, and its count of marks."""

    journal: str
    generation: int


def mark_path(keys_file: Path) -> Path:
    """Where the mark of a site with this key store is."""
    return keys_file.with_name(keys_file.name + ".journal")


def read_mark(path: Path) -> Mark | None:
    """The mark; None when there is none. A damaged one fits no journal."""
    try:
        content = read_json(path)
        return Mark(str(content["journal"]), int(content["generation"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Mark("damaged", 0)


def write_mark(path: Path, mark: Mark) -> None:
    """Replace the mark. A directory that cannot be written is logged, no more."""
    text = dump_json({"journal": mark.journal, "generation": mark.generation})
    try:
        atomic_write(path, text.encode() + b"\n")
    except KeyStoreError as error:
        log.warning("the journal's mark cannot be written", extra={"why": str(error)})


def judge(mark: Mark | None, journal: Mark, homes: int) -> tuple[Reason, str] | None:
    """Compares the mark with the journal that was found; None when they fit."""
    if mark is None:
        return None
    if mark.journal != journal.journal:
        return (
            Reason.LOST,
            f"the journal is not the one this site had: quarantines, open commands and history of "
            f"{homes} homes are forgotten. Look at homes that were in quarantine, {ADOPT}",
        )
    if journal.generation < mark.generation:
        return (
            Reason.RESTORED,
            f"the journal is an older copy of itself ({journal.generation} of {mark.generation}): "
            f"quarantines and moves since then are forgotten. Look at homes that were moved or "
            f"put in quarantine since, {ADOPT}",
        )
    return None
