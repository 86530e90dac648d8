"""Rollouts in the journal: what a restart must not forget."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass

from pbal_controller.journal import Journal


class State(enum.Enum):
    """Of a rollout."""

    WAITING = "waiting"  # published, and to be started by an order (update.start)
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    DONE = "done"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class RolloutRow:
    """The rollout of one release as the journal has it."""

    digest: str
    version: str
    file: str
    state: str
    wish: str = ""
    detail: str = ""
    created_s: float = 0.0
    updated_s: float = 0.0


_COLUMNS = ", ".join(RolloutRow.__dataclass_fields__)
# What an order of HQ asks for, by the state of the rollout.
_WISH = {
    State.WAITING.value: "resume",
    State.RUNNING.value: "",
    State.PAUSED.value: "resume",
    State.STOPPED.value: "retry",
}


def rollouts(journal: Journal) -> list[RolloutRow]:
    """All rollouts, oldest first."""
    rows = journal.db.execute(f"SELECT {_COLUMNS} FROM rollouts ORDER BY created_s")
    return [RolloutRow(*row) for row in rows]


def add(journal: Journal, digest: str, version: str, file: str, state: str) -> None:
    """Note a new rollout; one that is known stays as it is."""
    now = time.time()
    journal.db.execute(
        f"INSERT INTO rollouts ({_COLUMNS}) VALUES (?, ?, ?, ?, '', '', ?, ?) "
        "ON CONFLICT DO NOTHING",
        (digest, version, file, state, now, now),
    )


def set_state(journal: Journal, digest: str, state: str, detail: str) -> None:
    """Set the state of a rollout; this also clears the wish."""
    journal.db.execute(
        "UPDATE rollouts SET state = ?, detail = ?, wish = '', updated_s = ? WHERE digest = ?",
        (state, detail, time.time(), digest),
    )


def set_wish(journal: Journal, digest: str, wish: str) -> bool:
    """What a person asks for; the controller looks every few seconds. False: no such rollout."""
    done = journal.db.execute("UPDATE rollouts SET wish = ? WHERE digest = ?", (wish, digest))
    return done.rowcount == 1


def homes(journal: Journal, digest: str) -> dict[int, tuple[str, str]]:
    """address -> (step, detail) of a rollout."""
    rows = journal.db.execute(
        "SELECT address, state, detail FROM rollout_homes WHERE digest = ?", (digest,)
    )
    return {address: (state, detail) for address, state, detail in rows}


def set_home(journal: Journal, digest: str, address: int, state: str, detail: str) -> None:
    """Set the step of one home."""
    journal.db.execute(
        "INSERT INTO rollout_homes VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest, address) "
        "DO UPDATE SET state = excluded.state, detail = excluded.detail, "
        "updated_s = excluded.updated_s",
        (digest, address, state, detail, time.time()),
    )


def order(journal: Journal, digest: bytes, command: str) -> tuple[bool | None, str]:
    """HQ's command wants the release whose digest begins so on all homes.

    True: it is there already; None: it is under way, and a fact tells how it ends; False: it will
    not be brought. And the words for it. Within a transaction of the caller.
    """
    row = journal.db.execute(
        "SELECT digest, version, state, ordered FROM rollouts WHERE substr(digest, 1, ?) = ?",
        (2 * len(digest), digest.hex()),
    ).fetchone()
    if row is None:
        return False, f"no release {digest.hex()} at this site"
    whole, version, state, ordered = row
    if ordered:
        return False, f"{version} is under way by an earlier order"
    if state == State.DONE.value:
        return True, f"{version} is on every home already"
    if state not in _WISH:
        return False, f"{version} is {state} at this site"
    journal.db.execute(
        "UPDATE rollouts SET wish = ?, ordered = ? WHERE digest = ?", (_WISH[state], command, whole)
    )
    return None, f"{version} is brought to the homes"
