"""Events for HQ, from what the journal noted (schema/0007_uplink.sql) and from the uplink itself.

An event's id is a hash of what it is about, so that the same event has the same id after a crash,
from a restored journal, and when it is sent again.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pbal_protocol import events
from pbal_uplink import Command, Event, names

# An event's time by the node's clock is used if it is within this of when the event came.
_BELIEVED_S = 30 * 86400
_TEXT = next(field for field in Event.DECLARED if field.name == "detail").high
_OUTCOME = {word: number for number, word in names.OUTCOMES.items()}
# What nobody has to look after: done, or under way with another answer to follow.
GOOD = (names.OUTCOME_DONE, names.OUTCOME_NONE)
_SEVERITY = {
    "confirmed": names.INFO,
    "expired": names.WARNING,
    "refused": names.WARNING,
    "failed": names.ALARM,
    "disagreed": names.ALARM,
}


def shortened(text: str, most: int = _TEXT) -> str:
    """The text in at most so many bytes of UTF-8."""
    return text.encode()[:most].decode(errors="ignore")


def event_id(*about: object) -> int:
    """64 bits that are the same for the same."""
    text = "|".join(str(part) for part in about)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _second(at_s: float) -> int:
    return max(0, min(0xFFFFFFFF, int(at_s)))


def event_of(site: int, at_s: float, fact: dict[str, Any]) -> Event:
    """The event that a noted fact is, seen at `at_s`."""
    what, address = fact["what"], fact.get("address", 0)
    if what == "node":
        said = fact["time"]
        return Event(
            site=site,
            event_id=event_id(what, address, fact["boots"], fact["seq"], fact["code"], said),
            at_s=said if 0 <= at_s - said <= _BELIEVED_S else _second(at_s),
            kind=names.KIND_NODE, severity=fact["severity"], address=address, code=fact["code"],
            arg0=fact["arg0"], arg1=fact["arg1"], detail=shortened(events.says(fact["code"])),
        )  # fmt: skip
    if what == "switching":
        state = fact["state"]
        return Event(
            site=site, event_id=event_id(what, fact["command"], state), at_s=_second(at_s),
            kind=names.KIND_SWITCHING, severity=_SEVERITY[state], address=address,
            outcome=_OUTCOME[state], from_phase=fact["from"], to_phase=fact["to"],
            command_id=fact["command"], detail=shortened(fact["detail"]),
        )  # fmt: skip
    if what == "rollout":
        return _end_of_rollout(site, at_s, fact)
    kind, severity = {
        "quarantine": (names.KIND_QUARANTINE, names.ALARM),
        "released": (names.KIND_RELEASED, names.INFO),
        "stand-down": (names.KIND_STAND_DOWN, names.ALARM),
    }[what]
    return Event(
        site=site, event_id=event_id(what, address, fact.get("reason", ""), fact["since"]),
        at_s=_second(at_s), kind=kind, severity=severity, address=address,
        detail=shortened(fact.get("detail", "")),
    )  # fmt: skip


def _end_of_rollout(site: int, at_s: float, fact: dict[str, Any]) -> Event:
    """The last answer to an order of a rollout."""
    done, command = fact["state"] == "done", int(fact["command"])
    words = f"{fact['version']} runs on {fact['done']} of {fact['homes']} homes"
    if not done:
        why = f"{fact['state']} {fact['detail']}".strip()
        words = f"{why}; {words}"
    return Event(
        site=site, event_id=event_id("answer", site, command, "end"), at_s=_second(at_s),
        kind=names.KIND_ANSWER, severity=names.INFO if done else names.WARNING,
        outcome=names.OUTCOME_DONE if done else names.OUTCOME_FAILED, command_id=command,
        detail=shortened(words),
    )  # fmt: skip


def thinned(site: int, from_s: int, to_s: int, count: int, total: int) -> Event:
    """Summaries were thinned out in a full outbox."""
    return Event(
        site=site, event_id=event_id("thinned", site, total, to_s), at_s=to_s,
        kind=names.KIND_THINNED, severity=names.WARNING,
        detail=f"the outbox is full: {count} summaries between {from_s} and {to_s} were dropped",
    )  # fmt: skip


def answer(site: int, at_s: float, command: Command, outcome: int, detail: str) -> Event:
    """The result of a command of HQ; without an outcome while it is under way."""
    return Event(
        site=site, event_id=event_id("answer", site, command.command_id, outcome),
        at_s=_second(at_s), kind=names.KIND_ANSWER,
        severity=names.INFO if outcome in GOOD else names.WARNING,
        outcome=outcome, command_id=command.command_id, detail=shortened(detail),
    )  # fmt: skip
