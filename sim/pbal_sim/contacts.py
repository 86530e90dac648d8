"""Relay contacts between a home and the three phases: coils, delays, faults.

A contact follows its coil after the operate or release delay. Latching contacts stay where a pulse
put them, also through a reset; a pulse that is cut before that delay is over moves nothing. Faults
are those of real relays: a welded contact stays closed whatever its coil does, a stuck one never
closes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OPEN = -1
FAULTS = ("", "welded", "stuck")


@dataclass(slots=True)
class Contact:
    """One contact; times in microseconds of CLOCK_MONOTONIC."""

    operate_us: float
    release_us: float
    driven: bool = False
    closed: bool = False
    fault: str = ""


class ContactSet:
    """The three contacts of one home.

    `schedule(t_us, action)` calls back at a time; `changed(phase, closed, t_us)` reports every
    movement with the instant at which it happened, not at which it was noticed.
    """

    def __init__(
        self,
        selector: dict[str, Any],
        rng: random.Random,
        schedule: Callable[[float, Callable[[], None]], None],
        changed: Callable[[int, bool, float], None],
        driven: Callable[[int, bool, float], None],
    ) -> None:
        operate = 1000.0 * float(selector.get("operate_ms", 15))
        release = 1000.0 * float(selector.get("release_ms", 10))
        self._schedule = schedule
        self._changed = changed
        self._driven = driven
        self.latching = selector.get("kind") == "latching"
        # The board file states the slowest relay of a batch; each one is somewhat quicker.
        self.contacts = [
            Contact(operate * rng.uniform(0.6, 1.0), release * rng.uniform(0.6, 1.0))
            for _ in range(3)
        ]
        on_level = int(selector.get("on_level", 1))
        self._pins: dict[int, tuple[int, bool]] = {}
        # Latching: since when each coil has had no current; infinity while it has.
        self._off_us: dict[tuple[int, bool], float] = {}
        for phase, letter in enumerate("abc"):
            if self.latching:
                self._pins[_pin(selector, f"{letter}_set")] = (phase, True)
                self._pins[_pin(selector, f"{letter}_reset")] = (phase, False)
            else:
                self._pins[_pin(selector, letter)] = (phase, True)
        self._on_level = on_level

    @property
    def pins(self) -> list[int]:
        """The pins that move contacts."""
        return list(self._pins)

    @property
    def closed(self) -> list[int]:
        """Indices 0..2 of the contacts that are closed."""
        return [i for i, c in enumerate(self.contacts) if c.closed]

    @property
    def phase(self) -> int:
        """The phase that feeds the output, OPEN when none does."""
        closed = self.closed
        return closed[0] if closed else OPEN

    def pin_event(self, pin: int, level: int, t_us: float) -> None:
        """A pin of the chip changed at `t_us`."""
        target = self._pins.get(pin)
        if target is None:
            return
        phase, closes = target
        on = level == self._on_level
        contact = self.contacts[phase]
        if self.latching:
            self._off_us[phase, closes] = math.inf if on else t_us
            if closes:
                self._driven(phase, on, t_us)
            if on:
                self._follow(phase, closes, t_us)
            return
        if contact.driven != on:
            contact.driven = on
            self._driven(phase, on, t_us)
            self._follow(phase, on, t_us)

    def power_lost(self, t_us: float) -> None:
        """The chip lost its supply or was reset: its pins float, held coils drop, pulses end."""
        for coil, off_us in self._off_us.items():
            self._off_us[coil] = min(off_us, t_us)
            if coil[1]:
                self._driven(coil[0], False, t_us)
        for phase, contact in enumerate(self.contacts):
            if contact.driven:
                contact.driven = False
                self._driven(phase, False, t_us)
                self._follow(phase, False, t_us)

    def set_fault(self, phase: int, fault: str, t_us: float) -> None:
        """Welds, blocks or repairs one contact now."""
        contact = self.contacts[phase]
        contact.fault = fault
        if fault == "" and not self.latching and contact.closed != contact.driven:
            self._follow(phase, contact.driven, t_us)

    def _follow(self, phase: int, close: bool, t_us: float) -> None:
        contact = self.contacts[phase]
        due = t_us + (contact.operate_us if close else contact.release_us)

        def move() -> None:
            if not self.latching and contact.driven != close:
                return  # the coil was switched again before the armature moved
            if self.latching and self._off_us[phase, close] < due:
                return  # the pulse was too short
            if contact.fault == ("stuck" if close else "welded") or contact.closed == close:
                return
            contact.closed = close
            self._changed(phase, close, due)

        self._schedule(due, move)


def _pin(selector: dict[str, Any], key: str) -> int:
    return int(selector[key])
