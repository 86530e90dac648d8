"""What a notice says: lines for a person, and the same as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pbal_uplink import names

# More lines than that say how many others there are; the data of a webhook has all.
MOST_LINES = 50


@dataclass(frozen=True)
class Change:
    """One change of an alarm. `what`: raised, worse, escalated or closed; `level`: how often
    nobody had acknowledged it in time."""

    id: int
    at: datetime
    alarm_id: int
    what: str
    severity: int
    level: int
    transformer: str
    name: str
    place: str
    kind: str
    address: int
    detail: str
    why_closed: str | None

    @property
    def line(self) -> str:
        """For a person."""
        home = f", home {self.address}" if self.address else ""
        tail = f" ({self.why_closed})" if self.what == "closed" and self.why_closed else ""
        word = f"not acknowledged ({self.level})" if self.what == "escalated" else self.what
        at = self.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return (
            f"{at} {names.SEVERITIES[self.severity]}, {word}: {self.transformer} {self.name}"
            f" ({self.place}): {self.kind}{home}: {self.detail}{tail}"
        )

    def as_dict(self, base: str) -> dict[str, Any]:
        """For a program."""
        return {
            "id": self.id, "at": self.at.astimezone(UTC).isoformat(), "change": self.what,
            "alarm": self.alarm_id, "severity": names.SEVERITIES[self.severity],
            "level": self.level, "transformer": self.transformer, "name": self.name,
            "place": self.place, "kind": self.kind, "home": self.address or None,
            "detail": self.detail, "url": f"{base}/alarms/{self.alarm_id}" if base else None,
        }  # fmt: skip


@dataclass(frozen=True)
class Message:
    """What goes to one route at once. `id` is the same in every attempt, so that a receiver can
    leave out what came twice."""

    id: UUID
    changes: Sequence[Change]
    base: str = ""  # the portal's address, "" where it is not configured

    @property
    def severity(self) -> int:
        """The worst of the changes that do not close an alarm."""
        return max((c.severity for c in self.changes if c.what != "closed"), default=0)

    @property
    def subject(self) -> str:
        """One line; no line break whatever a detail holds."""
        if len(self.changes) == 1:
            c = self.changes[0]
            words = f"{names.SEVERITIES[c.severity]} {c.what}: {c.transformer} {c.kind}"
        else:
            parts = [
                f"{sum(c.what == what for c in self.changes)} {what}"
                for what in ("raised", "worse", "escalated", "closed")
                if any(c.what == what for c in self.changes)
            ]
            words = "alarms: " + ", ".join(parts)
        return " ".join(f"pbal {words}".split())[:200]

    @property
    def text(self) -> str:
        """For a person; the worst first."""
        ranked = sorted(self.changes, key=lambda c: (c.what == "closed", -c.severity, c.id))
        lines = []
        for c in ranked[:MOST_LINES]:
            lines.append(" ".join(c.line.split()))
            if self.base:
                lines.append(f"  {self.base}/alarms/{c.alarm_id}")
        if len(ranked) > MOST_LINES:
            lines.append(f"and {len(ranked) - MOST_LINES} others")
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """For a program."""
        return {
            "id": str(self.id), "subject": self.subject,
            "changes": [c.as_dict(self.base) for c in self.changes],
        }  # fmt: skip
