"""Where homes stand: from a list with degrees or metres to metres around the gateway. Pure."""

import math
from dataclasses import dataclass

from ..errors import InputError
from ..homestable import Row

# Mean radius of the earth (IUGG), m.
_EARTH_M = 6_371_008.8
# A LoRa village is a few kilometres wide; a larger distance is a mistake in a coordinate.
_FAR_M = 100_000.0


@dataclass(frozen=True)
class Place:
    """One home, metres east and north of the gateway."""

    address: int
    name: str
    x_m: float
    y_m: float

    @property
    def distance_m(self) -> float:
        """From the gateway."""
        return math.hypot(self.x_m, self.y_m)


def parse_gateway(text: str) -> tuple[float, float]:
    """ "LAT,LON" or "X,Y" as two numbers. Raises InputError."""
    parts = text.replace(";", ",").split(",")
    try:
        first, second = (float(part) for part in parts)
        if not (math.isfinite(first) and math.isfinite(second)):
            raise ValueError
    except ValueError:
        raise InputError(
            f"--gateway-at {text!r} is no place.",
            "Give LAT,LON in degrees or X,Y in metres, as the list does.",
        ) from None
    return first, second


def places(rows: list[Row], gateway: tuple[float, float] | None) -> list[Place]:
    """The homes around the gateway; without one, around their own middle.

    Raises InputError naming the line.
    """
    degrees = [row for row in rows if row.lat is not None]
    metres = [row for row in rows if row.x_m is not None]
    for row in rows:
        if row.lat is None and row.x_m is None:
            raise InputError(
                f"Line {row.line}: home {row.address} has no place.",
                "Give columns lat and lon (degrees), or x_m and y_m (metres), for each home.",
            )
    if degrees and metres:
        line = max(degrees[0].line, metres[0].line)
        raise InputError(
            f"Line {line}: degrees in some lines and metres in others.",
            "Use lat and lon for all homes, or x_m and y_m for all.",
        )
    if degrees:
        found = _from_degrees(rows, gateway)
    else:
        at = [(float(row.x_m or 0), float(row.y_m or 0)) for row in rows]
        x0, y0 = gateway or _middle(at)
        found = [
            Place(row.address, row.name, x - x0, y - y0)
            for row, (x, y) in zip(rows, at, strict=True)
        ]
    for row, place in zip(rows, found, strict=True):
        if place.distance_m > _FAR_M:
            raise InputError(
                f"Line {row.line}: home {row.address} is {place.distance_m / 1000:.0f} km from the "
                "gateway.",
                "Check its coordinates, and that --gateway-at is meant as the list is: degrees "
                "or metres, latitude first.",
            )
    return found


def _middle(at: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(x for x, _ in at) / len(at), sum(y for _, y in at) / len(at)


def _from_degrees(rows: list[Row], gateway: tuple[float, float] | None) -> list[Place]:
    at = [(float(row.lat or 0), float(row.lon or 0)) for row in rows]
    lat0, lon0 = gateway or _middle(at)
    if abs(lat0) > 90 or abs(lon0) > 180:
        raise InputError(
            f"--gateway-at {lat0:g},{lon0:g} is no place on the earth.",
            "The list has degrees: give LAT,LON.",
        )
    # A few kilometres are flat: metres of a degree at the gateway's latitude.
    north = math.radians(1) * _EARTH_M
    east = north * math.cos(math.radians(lat0))
    return [
        Place(row.address, row.name, east * ((lon - lon0 + 180) % 360 - 180), north * (lat - lat0))
        for row, (lat, lon) in zip(rows, at, strict=True)
    ]
