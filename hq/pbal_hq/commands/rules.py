"""Which order needs which permission, and which needs a second person: tables.

A second person is needed where an order lets a site move more homes, or changes what its nodes run.
What only restrains a site, or asks it something, needs one person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pbal_hq.auth import Permission
from pbal_hq.errors import BadInput
from pbal_uplink import BadMessage, names
from pbal_uplink import Command as Words

P = Permission

# By kind, and for "mode" by the mode: (permission, second person).
_RULES: Mapping[str, tuple[Permission, bool]] = {
    "mode run": (P.COMMAND_RUN, True),
    "mode dry-run": (P.COMMAND_HOLD, False),
    "mode hold": (P.COMMAND_HOLD, False),
    "limits": (P.COMMAND_RUN, True),
    "rebirth": (P.COMMAND_ASK, False),
    "reading": (P.COMMAND_ASK, False),
    "rollout": (P.COMMAND_ROLLOUT, True),
}
_KINDS = {word: number for number, word in names.COMMANDS.items()}
_MODES = {word: number for number, word in names.MODES.items() if word != "stands-down"}


@dataclass(frozen=True)
class Wish:
    """What a user asks of a site. Raises BadInput where it is not valid.

    `kind`: mode, limits, rebirth, rollout or reading. `mode`: run, dry-run or hold. The limits as
    in `pbal_uplink.Command`; both None: as configured at the site. `release`: 16 hex digits.
    """

    kind: str
    mode: str | None = None
    phase_limit_a: float | None = None
    max_moving_percent: int | None = None
    release: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise BadInput(f"An order is one of {', '.join(_KINDS)}.")
        limits = (self.phase_limit_a, self.max_moving_percent)
        given = {"mode": self.mode is not None, "rollout": self.release is not None,
                 "limits": any(value is not None for value in limits)}  # fmt: skip
        stray = [kind for kind, there in given.items() if there and kind != self.kind]
        if stray:
            raise BadInput(f"An order of kind {self.kind} has nothing of {stray[0]} in it.")
        if self.kind == "mode" and self.mode not in _MODES:
            raise BadInput(f"The mode is one of {', '.join(_MODES)}.")
        if self.kind == "rollout" and self.release is None:
            raise BadInput("A rollout names its release: the first 16 hex digits of its digest.")
        self.words(0, 1, 0, 1, "")

    @property
    def rule(self) -> str:
        """Its row in the table."""
        return f"mode {self.mode}" if self.kind == "mode" else self.kind

    def words(
        self, site: int, command_id: int, issued_s: int, expires_s: int, detail: str
    ) -> Words:
        """As it is signed. Raises BadInput, which names the bound."""
        values: dict[str, Any] = {
            "site": site, "command_id": command_id, "issued_s": issued_s, "expires_s": expires_s,
            "kind": _KINDS[self.kind], "mode": None if self.mode is None else _MODES[self.mode],
            "phase_limit_a": self.phase_limit_a, "max_moving_percent": self.max_moving_percent,
            "release": self.release, "detail": _short(detail),
        }  # fmt: skip
        try:
            return Words.from_dict(values)
        except BadMessage as error:
            raise BadInput(str(error).removeprefix("Command.")) from None


def wish_of(kind: int, fields: Mapping[str, Any]) -> Wish:
    """From the fields of a `pbal_uplink.Command` as they are stored."""
    mode = fields["mode"]
    return Wish(
        names.COMMANDS[kind], None if mode is None else names.MODES[mode],
        fields["phase_limit_a"], fields["max_moving_percent"], fields["release"],
    )  # fmt: skip


def _short(text: str, limit: int = 120) -> str:
    """Cut to `limit` bytes of UTF-8."""
    return text.encode()[:limit].decode(errors="ignore")


def permission(wish: Wish) -> Permission:
    """What one needs to order it."""
    return _RULES[wish.rule][0]


def needs_second(wish: Wish) -> bool:
    """Whether a second person has to approve it."""
    return _RULES[wish.rule][1]


def table() -> list[tuple[str, Permission, bool]]:
    """The rules, for a page."""
    return [(rule, may, second) for rule, (may, second) in _RULES.items()]
