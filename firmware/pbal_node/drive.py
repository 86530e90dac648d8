"""The contacts' coils. The last check of S1 in software: never two outputs driven at once.

`driven` is the phase whose contact is (or was last) commanded closed, 0 when all are off. Pins are
objects with `value(level)`; index 0, 1, 2 is phase 1, 2, 3. Timed pulses end in `poll(now_ms)`.
"""

from pbal_node import rules


class DriveError(Exception):
    """A second contact was about to be driven (S1): a defect, never an operating condition."""


class HeldDrive:
    """Non-latching relays and contactors: the coil is held while the contact is closed."""

    stays = False  # a reset opens the contacts

    def __init__(self, pins: list, on_level: int) -> None:
        self._pins = pins
        self._on = on_level
        self.driven = 0
        self.busy = False  # no pulses to wait for
        self.all_off(0)

    def all_off(self, now_ms: int) -> None:
        self.coils_off()

    def coils_off(self) -> None:
        """The state in which a program must end: the contacts open."""
        for pin in self._pins:
            pin.value(1 - self._on)
        self.driven = 0

    def on(self, phase: int, now_ms: int) -> None:
        if not rules.may_drive(self.driven, phase):
            raise DriveError(phase)
        self.driven = phase
        self._pins[phase - 1].value(self._on)

    def poll(self, now_ms: int) -> None:
        pass


class Aux:
    """Auxiliary contacts: the true position of each armature, whatever the voltages are."""

    def __init__(self, pins: list, closed_level: int) -> None:
        self._pins = pins
        self._closed = closed_level

    def closed(self) -> int:
        """A bit per phase (1, 2, 4) whose contact says that it is closed."""
        mask = 0
        for i in range(3):
            if self._pins[i].value() == self._closed:
                mask |= 1 << i
        return mask


class LatchingDrive:
    """Latching relays with a set and a reset coil each; the contact stays where the pulse put it.

    A new object moves nothing: a closed contact stays closed until `all_off` is called: it pulses
    every reset coil, wherever the contacts are. `busy` is true while a pulse lasts; `on` is refused
    until a reset pulse is over.
    """

    stays = True

    def __init__(self, set_pins: list, reset_pins: list, on_level: int, pulse_ms: int) -> None:
        self._set = set_pins
        self._reset = reset_pins
        self._on = on_level
        self._pulse_ms = pulse_ms
        self._until = 0
        self.driven = 0
        self.busy = False
        self.coils_off()

    def coils_off(self) -> None:
        """The state in which a program must end: the contacts stay where they are."""
        for pin in self._set:
            pin.value(1 - self._on)
        for pin in self._reset:
            pin.value(1 - self._on)
        self.busy = False

    def all_off(self, now_ms: int) -> None:
        for pin in self._set:
            pin.value(1 - self._on)
        for pin in self._reset:
            pin.value(self._on)
        self.driven = 0
        self.busy = True
        self._until = now_ms + self._pulse_ms

    def adopt(self, phase: int) -> None:
        """This contact is proven closed (adopt.py): no other may be driven before all are off."""
        self.driven = phase

    def on(self, phase: int, now_ms: int) -> None:
        if not rules.may_drive(self.driven, phase) or self.busy:
            raise DriveError(phase)
        self.driven = phase
        self._set[phase - 1].value(self._on)
        self.busy = True
        self._until = now_ms + self._pulse_ms

    def poll(self, now_ms: int) -> None:
        if self.busy and now_ms >= self._until:
            self.coils_off()
