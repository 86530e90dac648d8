"""Minute aggregates of every home's readings, for the journal and for HQ."""

from __future__ import annotations

from dataclasses import dataclass

from pbal_protocol.records import Telemetry

Row = tuple[int, int, int, float, float, float, float, float, int, int, int]


@dataclass(slots=True)
class _Sum:
    samples: int = 0
    p_sum: float = 0.0
    p_max: float = float("-inf")
    i_sum: float = 0.0
    v_min: float = float("inf")
    v_max: float = float("-inf")
    phase: int = 0
    e_import: int = 0
    e_export: int = 0


class MinuteBook:
    """Collects readings and gives out the rows of minutes that are over."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int], _Sum] = {}

    def add(self, address: int, reading: Telemetry, wall: float) -> None:
        """One reading, measured at site time `wall`."""
        s = self._sums.setdefault((int(wall) // 60 * 60, address), _Sum())
        s.samples += 1
        s.p_sum += reading.p_w
        s.p_max = max(s.p_max, reading.p_w)
        s.i_sum += reading.current_a
        s.v_min = min(s.v_min, reading.vout_v)
        s.v_max = max(s.v_max, reading.vout_v)
        s.phase = int(reading.phase)
        s.e_import = int(reading.e_import_wh)
        s.e_export = int(reading.e_export_wh)

    def take(self, wall: float, *, everything: bool = False) -> list[Row]:
        """Rows of finished minutes, as the journal's table has them; they leave the book."""
        limit = int(wall) // 60 * 60
        keys = [key for key in self._sums if everything or key[0] < limit]
        rows: list[Row] = []
        for key in sorted(keys):
            s = self._sums.pop(key)
            rows.append(
                (key[1], key[0], s.samples, s.p_sum / s.samples, s.p_max, s.i_sum / s.samples,
                 s.v_min, s.v_max, s.phase, s.e_import, s.e_export)
            )  # fmt: skip
        return rows
