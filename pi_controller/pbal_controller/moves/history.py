"""The latest moves as status, page and event stream show them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from pbal_controller.journal import CommandRow
from pbal_controller.moves.command import Command

RECENT = 200


class History:
    """The latest RECENT moves, oldest first; each change of one is published as `move`."""

    def __init__(self, publish: Callable[[str, dict[str, Any]], None]) -> None:
        self.moves: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._publish = publish

    def fill(self, rows: list[CommandRow]) -> None:
        """From the journal, newest first, as it gives them."""
        self.moves.extend(
            _as_dict(row, row.state, row.attempts, row.detail, row.transfer_ms, False)
            for row in reversed(rows)
        )

    def changed(self, command: Command) -> None:
        """A command began, or is in another state than before."""
        move = _as_dict(
            command.row, command.state.value, command.attempts, command.detail,
            command.transfer_ms, command.recovered,
        )  # fmt: skip
        for index, old in enumerate(self.moves):
            if old["id"] == move["id"]:
                self.moves[index] = move
                break
        else:
            self.moves.append(move)
        self._publish("move", move)


def _as_dict(
    row: CommandRow, state: str, attempts: int, detail: str, transfer_ms: int, recovered: bool
) -> dict[str, Any]:
    return {
        "id": row.id,
        "home": row.address,
        "from": row.from_phase,
        "to": row.to_phase,
        "issued_s": row.issued_s,
        "expires_s": row.expires_s,
        "reason": row.reason,
        "saving": round(row.saving, 3),
        "state": state,
        "attempts": attempts,
        "detail": detail,
        "transfer_ms": transfer_ms,
        "recovered": recovered,
    }
