"""An independent check of safety: it sees contacts and currents, never the firmware's state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Incident:
    """Something that must never happen, or a fact worth keeping."""

    home: int
    kind: str
    t_us: float
    detail: str


@dataclass(slots=True)
class Transfer:
    """One completed change of phase as the contacts saw it."""

    home: int
    from_phase: int
    to_phase: int
    opened_us: float
    closed_us: float
    current_a: float
    autonomous: bool  # the phase it left was outside the band


@dataclass(slots=True)
class _Home:
    closed: dict[int, float] = field(default_factory=dict)
    driven: dict[int, float] = field(default_factory=dict)
    last_phase: int = -1
    last_opened_us: float = 0.0
    last_transfer_us: float = -1.0
    open_current_a: float = 0.0
    left_bad_phase: bool = False
    transfers: int = 0


class Witness:
    """Records shorts, double drives, hot switching, short dwell and closing onto a bad phase.

    `dwell_s` and `rated_a` are what the nodes are configured to; 0 switches the check off.
    """

    def __init__(
        self, homes: int, *, rated_a: float, dwell_s: float, band_v: tuple[float, float]
    ) -> None:
        self._homes = [_Home() for _ in range(homes)]
        self.rated_a = rated_a
        self.dwell_s = dwell_s
        self.band_v = band_v
        self.incidents: list[Incident] = []
        self.transfers: list[Transfer] = []
        self.closings: list[tuple[int, int, float]] = []

    def _note(self, home: int, kind: str, t_us: float, detail: str) -> None:
        self.incidents.append(Incident(home, kind, t_us, detail))

    def driven(self, home: int, phase: int, on: bool, t_us: float) -> None:
        """A coil was switched."""
        coils = self._homes[home].driven
        if on:
            if coils:
                others = ", ".join("ABC"[p] for p in coils)
                self._note(home, "two-driven", t_us, f"{'ABC'[phase]} driven beside {others}")
            coils[phase] = t_us
        else:
            coils.pop(phase, None)

    def moved(
        self, home: int, phase: int, closed: bool, t_us: float, current_a: float, v: list[float]
    ) -> None:
        """A contact moved; `current_a` flowed before it, `v` are the three phase voltages."""
        h = self._homes[home]
        if not closed:
            h.closed.pop(phase, None)
            h.last_opened_us = t_us
            h.open_current_a = current_a
            h.left_bad_phase = not self.band_v[0] <= v[phase] <= self.band_v[1]
            if self.rated_a and current_a > self.rated_a:
                self._note(home, "hot-switching", t_us, f"{current_a:.1f} A > {self.rated_a} A")
            return
        if h.closed:
            others = ", ".join("ABC"[p] for p in h.closed)
            self._note(home, "short-circuit", t_us, f"{'ABC'[phase]} closed while {others} was")
        h.closed[phase] = t_us
        self.closings.append((home, phase, t_us))
        if not self.band_v[0] - 1.0 <= v[phase] <= self.band_v[1] + 1.0:
            self._note(home, "closed-out-of-band", t_us, f"{'ABC'[phase]} at {v[phase]:.1f} V")
        if h.last_phase >= 0 and h.last_phase != phase:
            since_s = (t_us - h.last_transfer_us) / 1e6
            if (
                self.dwell_s
                and h.last_transfer_us >= 0
                and not h.left_bad_phase
                and (since_s < self.dwell_s - 0.1)
            ):
                self._note(home, "dwell", t_us, f"{since_s:.1f} s < {self.dwell_s} s")
            self.transfers.append(
                Transfer(
                    home,
                    h.last_phase,
                    phase,
                    h.last_opened_us,
                    t_us,
                    h.open_current_a,
                    h.left_bad_phase,
                )
            )
            h.transfers += 1
            h.last_transfer_us = t_us
        h.last_phase = phase

    def transfers_of(self, home: int) -> int:
        """Completed changes of phase of one home."""
        return self._homes[home].transfers

    def report(self) -> dict[str, Any]:
        """Counts by kind, and the incidents themselves."""
        counts: dict[str, int] = {}
        for incident in self.incidents:
            counts[incident.kind] = counts.get(incident.kind, 0) + 1
        return {
            "incidents": counts,
            "incident_list": [asdict(i) for i in self.incidents[:100]],
            "transfers": len(self.transfers),
        }
