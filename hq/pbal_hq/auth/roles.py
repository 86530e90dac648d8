"""Who may do what: one table, from which routes, tests and docs follow.

A permission that no role names is granted to no user, and a route needs one permission. A grant is
a role with a place in the tree; it holds at that place and everything below it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pbal_hq.errors import BadInput


class Permission(enum.StrEnum):
    """One action that a user may be allowed."""

    TREE_READ = "tree.read"
    ALARM_READ = "alarm.read"
    ALARM_HANDLE = "alarm.handle"
    COMMAND_READ = "command.read"
    COMMAND_HOLD = "command.hold"
    COMMAND_RUN = "command.run"
    COMMAND_ASK = "command.ask"
    COMMAND_ROLLOUT = "command.rollout"
    COMMAND_APPROVE = "command.approve"
    REPORT_READ = "report.read"
    DEAD_READ = "dead.read"
    IMPORT = "import"
    USER_MANAGE = "user.manage"
    AUDIT_READ = "audit.read"


P = Permission

MEANINGS: Mapping[Permission, str] = {
    P.TREE_READ: "see transformers and their figures",
    P.ALARM_READ: "see alarms",
    P.ALARM_HANDLE: "acknowledge, comment and shelve alarms",
    P.COMMAND_READ: "see commands and their answers",
    P.COMMAND_HOLD: "order hold and dry-run",
    P.COMMAND_RUN: "order run and limits",
    P.COMMAND_ASK: "ask for a reading or a rebirth",
    P.COMMAND_ROLLOUT: "order a release to be rolled out",
    P.COMMAND_APPROVE: "release as second person what another ordered",
    P.REPORT_READ: "read reports",
    P.DEAD_READ: "see messages that could not be taken",
    P.IMPORT: "take over the utility's list of transformers",
    P.USER_MANAGE: "manage users, their roles and their second factors",
    P.AUDIT_READ: "read and check the audit log",
}


class Role(enum.StrEnum):
    """A user's function at the utility."""

    OFFICIAL = "official"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


_LOOK = frozenset({P.TREE_READ, P.ALARM_READ, P.REPORT_READ})
_OPERATE = _LOOK | {
    P.ALARM_HANDLE,
    P.COMMAND_READ,
    P.COMMAND_HOLD,
    P.COMMAND_RUN,
    P.COMMAND_ASK,
    P.COMMAND_APPROVE,
}

ROLES: Mapping[Role, frozenset[Permission]] = {
    Role.OFFICIAL: _LOOK,
    Role.OPERATOR: _OPERATE,
    Role.ENGINEER: _OPERATE | {P.COMMAND_ROLLOUT, P.DEAD_READ, P.IMPORT},
    Role.AUDITOR: _LOOK | {P.COMMAND_READ, P.AUDIT_READ},
    # The role that grants rights may not give orders.
    Role.ADMINISTRATOR: _LOOK | {P.COMMAND_READ, P.DEAD_READ, P.USER_MANAGE, P.AUDIT_READ},
}

# With one of these roles a password is not enough.
NEED_TOTP = frozenset({Role.OPERATOR, Role.ENGINEER, Role.ADMINISTRATOR})

# What does not concern a single transformer needs a grant for the whole tree.
WHOLE_TREE = frozenset({P.DEAD_READ, P.USER_MANAGE, P.AUDIT_READ, P.IMPORT})


@dataclass(frozen=True)
class Grant:
    """A role at the whole tree, at an area, or at one transformer: exactly one of them."""

    role: Role
    whole: bool = False
    area_id: int | None = None
    transformer_id: int | None = None

    def __post_init__(self) -> None:
        if self.whole + (self.area_id is not None) + (self.transformer_id is not None) != 1:
            raise BadInput(
                "A grant is for the whole tree, for an area or for a transformer: one of them."
            )


@dataclass(frozen=True)
class Scope:
    """Where a user holds a permission; by default nowhere."""

    whole: bool = False
    areas: tuple[int, ...] = ()
    transformers: tuple[int, ...] = ()

    @property
    def nowhere(self) -> bool:
        """Whether it is nowhere."""
        return not (self.whole or self.areas or self.transformers)

    def parameters(self) -> dict[str, object]:
        """The parameters of IN_SCOPE."""
        return {
            "whole": self.whole,
            "areas": list(self.areas),
            "transformers": list(self.transformers),
        }


# Where all transformers of the feeder of `t` may be seen.
FEEDER_IN_SCOPE = (
    "(%(whole)s OR t.feeder_id IN"
    " (SELECT area_id FROM area_within WHERE ancestor_id = ANY(%(areas)s)))"
)
# The condition that every query about transformers carries; `t` is the transformer.
IN_SCOPE = f"(t.id = ANY(%(transformers)s) OR {FEEDER_IN_SCOPE})"


def scope(grants: Iterable[Grant], permission: Permission) -> Scope:
    """Where these grants hold this permission."""
    kept = [grant for grant in grants if permission in ROLES[grant.role]]
    if any(grant.whole for grant in kept):
        return Scope(whole=True)
    if permission in WHOLE_TREE:
        return Scope()
    return Scope(
        areas=tuple(sorted({g.area_id for g in kept if g.area_id is not None})),
        transformers=tuple(
            sorted({g.transformer_id for g in kept if g.transformer_id is not None})
        ),
    )


def permissions(grants: Iterable[Grant]) -> frozenset[Permission]:
    """What these grants allow somewhere."""
    kept = list(grants)
    return frozenset(p for p in Permission if not scope(kept, p).nowhere)


def needs_totp(grants: Iterable[Grant]) -> bool:
    """Whether these grants ask for a second factor."""
    return any(grant.role in NEED_TOTP for grant in grants)
