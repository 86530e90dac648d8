"""A meter that some other program reads: a JSON file that it keeps."""

from __future__ import annotations

import asyncio
import math
import os
import time
from pathlib import Path
from typing import Any

from pbal_controller.documents import DocumentError, load_json
from pbal_controller.errors import BearerError
from pbal_controller.meters.reading import Three, TransformerReading, finite

_MAX_FILE_BYTES = 65536


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(f"{value} is no number")
    return float(value)


def _span(age_s: float) -> str:
    spans = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
    unit, name = next((s for s in spans if abs(age_s) >= 2 * s[0]), spans[-1])
    return f"{abs(age_s) / unit:.0f} {name} {'ago' if age_s > 0 else 'ahead of our clock'}"


class FileMeter:
    """A JSON file with the keys v, i_a, p_w (three numbers each) and perhaps q_var,
    neutral_a, freq_hz, and time_s (unix time of the reading), rewritten by another program.

    A file that was not written for `max_age_s`, or whose time_s is that old, is no reading: the
    program that writes it may have ended. `taken_s`: the unix time of the last reading.
    """

    def __init__(self, path: Path, max_age_s: float = 60.0) -> None:
        self._path = path
        self._max_age_s = max_age_s
        self.taken_s = 0.0

    async def read(self) -> TransformerReading:
        """Read the file as it is now."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> TransformerReading:
        try:
            with self._path.open("rb") as file:  # of this very file: it may be replaced meanwhile
                written_s = os.fstat(file.fileno()).st_mtime
                d = load_json(file.read(_MAX_FILE_BYTES + 1), _MAX_FILE_BYTES)

            def three(name: str, default: float | None = None) -> Three:
                values = d[name] if default is None else d.get(name, [default] * 3)
                a, b, c = (_number(x) for x in values)
                return a, b, c

            reading = TransformerReading(
                v=three("v"), i=three("i_a"), p_w=three("p_w"), q_var=three("q_var", 0.0),
                neutral_a=float(d.get("neutral_a", math.nan)),
                freq_hz=float(d.get("freq_hz", math.nan)),
            )  # fmt: skip
            taken_s = min(written_s, float(d.get("time_s", written_s)))
        except DocumentError as error:
            raise BearerError(f"{self._path}: not a meter file: {error}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BearerError(
                f"{self._path}: not a meter file ({error}); it needs the keys v, i_a, p_w"
            ) from None
        age_s = time.time() - taken_s
        # A time ahead of ours by more than that is as useless for the reading's age.
        if not -self._max_age_s <= age_s <= self._max_age_s:
            raise BearerError(
                f"{self._path}: written {_span(age_s)}; is the program that writes it running, and "
                "the clock right? (transformer.meter.max_age_s)"
            )
        self.taken_s = taken_s
        return finite(reading)

    def close(self) -> None:
        """Nothing to close."""
