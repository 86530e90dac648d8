"""Waveforms in a terminal, drawn with Braille dots (two by four to a character)."""

import itertools
import math

_BASE = 0x2800
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def rms(times: list[float], values: list[float]) -> float:
    """Root mean square about the mean over the record's time (trapezoids: samples come unevenly).

    About the mean, because the front end's bias is not exactly known.
    """

    def average(data: list[float]) -> float:
        steps = zip(itertools.pairwise(times), itertools.pairwise(data), strict=True)
        area = sum((t1 - t0) * (a + b) / 2 for (t0, t1), (a, b) in steps)
        return area / (times[-1] - times[0])

    mean = average(values)
    return math.sqrt(average([(value - mean) ** 2 for value in values]))


def plot(
    times: list[float], values: list[float], peak: float, width: int, height: int
) -> list[str]:
    """One curve over its time span, full scale +-`peak`, as lines of `width` characters."""
    cells = [[0] * width for _ in range(height)]
    span = max(times[-1] - times[0], 1e-9)
    dots = height * 4

    def dot(x: int, y: int) -> None:
        if 0 <= x < width * 2 and 0 <= y < dots:
            cells[y // 4][x // 2] |= _BITS[y % 4][x % 2]

    last: tuple[int, int] | None = None
    for time_s, value in zip(times, values, strict=True):
        x = min(int((time_s - times[0]) / span * (width * 2 - 1)), width * 2 - 1)
        share = max(-1.0, min(1.0, value / peak))
        y = round((1 - share) / 2 * (dots - 1))
        dot(x, y)
        if last is not None:
            # So that steep edges are a line, not scattered dots.
            steps = max(abs(y - last[1]), abs(x - last[0]))
            for n in range(1, steps):
                dot(last[0] + (x - last[0]) * n // steps, last[1] + (y - last[1]) * n // steps)
        last = (x, y)
    return ["".join(chr(_BASE + cell) for cell in row) for row in cells]


def screen(record: dict[str, list[float] | dict[str, list[float]]], width: int = 72) -> list[str]:
    """The four inputs one above the other, each with its RMS."""
    times, volts = record["t_s"], record["volts"]
    assert isinstance(times, list)
    assert isinstance(volts, dict)
    top = max((abs(v) for values in volts.values() for v in values), default=0.0)
    # A scale that is the same for all records: 400 V is enough for 230 V mains.
    peak = 400.0 if top <= 400 else top * 1.1
    out = []
    for name, values in volts.items():
        out.append(
            f"{name:<5} {rms(times, values):6.1f} V rms   {min(values):7.1f} .. {max(values):.1f} V"
        )
        out += ["  " + line for line in plot(times, values, peak, width, 4)]
    out.append(f"  {(times[-1] - times[0]) * 1000:.1f} ms, {len(times)} samples, +-{peak:.0f} V")
    return out
