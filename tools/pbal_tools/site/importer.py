"""A site file from a spreadsheet: one line for each home, exported as CSV."""

from pathlib import Path
from typing import Any

from .. import homestable
from ..errors import InputError
from ..sitefile import Site, validate

PHASES = {1: "A", 2: "B", 3: "C"}


def import_csv(
    path: Path, site_id: int, name: str, buses: dict[str, str], rated_kva: float | None = None,
    radios: dict[str, str] | None = None,
) -> Site:  # fmt: skip
    """Builds a site from a CSV file (comma or semicolon, UTF-8, a line of column names).

    `buses` gives each bus its serial port, `radios` each radio its region; a home that names none
    is on the only one. Raises InputError naming the line.
    """
    radios = radios or {}
    homes = [_home(path, row, [*buses, *radios]) for row in homestable.read(path)]
    feeders = dict.fromkeys(home["feeder"] for home in homes if home.get("feeder"))
    data: dict[str, Any] = {
        "site": {"id": site_id, "name": name},
        "transformer": {"rated_kva": rated_kva} if rated_kva else {},
        "feeder": [{"name": feeder} for feeder in feeders],
        "bus": {bus: {"port": port} for bus, port in buses.items()},
        "radio": {radio: {"region": region} for radio, region in radios.items()},
        "home": homes,
    }
    return validate(data, str(path))


def _home(path: Path, row: homestable.Row, buses: list[str]) -> dict[str, Any]:
    bus = row.bus or (buses[0] if len(buses) == 1 else "")
    if bus not in buses:
        raise InputError(
            f"{path}, line {row.line}: "
            + (
                f"bus {bus!r} has no port; give it with --bus {bus or 'NAME'}=PORT, or its region "
                f"with --radio {bus or 'NAME'}=REGION."
                if bus
                else "no bus is named, and there is not just one."
            ),
            "Correct that line.",
        )
    told = {key: getattr(row, key) for key in ("name", "feeder", "bearer", "eui", "board")}
    out: dict[str, Any] = {key: value for key, value in told.items() if value}
    out |= {"address": row.address, "bus": bus}
    if row.fixed:
        out["fixed"] = True
    if row.fuse_a is not None:
        out["fuse_a"] = row.fuse_a
    if row.phase:
        out["phase"] = PHASES[row.phase]
    return out
