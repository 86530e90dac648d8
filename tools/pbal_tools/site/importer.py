"""A site file from a spreadsheet: one line for each home, exported as CSV."""

import csv
from pathlib import Path
from typing import Any

from ..errors import InputError
from .model import Site, validate

COLUMNS = ("address", "name", "bus", "feeder", "phase", "bearer", "fixed", "eui", "board")
_TRUE, _FALSE = {"1", "yes", "true", "y", "x"}, {"", "0", "no", "false", "n"}


def import_csv(
    path: Path, site_id: int, name: str, buses: dict[str, str], rated_kva: float | None = None
) -> Site:
    """Builds a site from a CSV file (comma or semicolon, UTF-8, a line of column names).

    `buses` gives each bus its serial port; a home without a bus is on the only one. Raises
    InputError naming the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{path} cannot be read: {exc}.", "Save it as UTF-8 text.") from None
    first = text.partition("\n")[0]
    reader = csv.DictReader(text.splitlines(), delimiter=";" if first.count(";") else ",")
    names = [(column or "").strip().lower() for column in reader.fieldnames or []]
    unknown = sorted(set(names) - set(COLUMNS) - {""})
    if "address" not in names or unknown:
        what = f"unknown columns {unknown}" if unknown else "there is no column 'address'"
        raise InputError(f"{path}: {what}.", f"Columns: {', '.join(COLUMNS)}.")
    homes: list[dict[str, Any]] = []
    lines: dict[int, int] = {}
    for row in reader:
        cells = {(k or "").strip().lower(): (v or "").strip() for k, v in row.items() if k}
        if any(cells.values()):
            home = _home(path, reader.line_num, cells, buses)
            if home["address"] in lines:
                raise InputError(
                    f"{path}, line {reader.line_num}: address {home['address']} is also in line "
                    f"{lines[home['address']]}.",
                    "Addresses are unique at a site.",
                )
            lines[home["address"]] = reader.line_num
            homes.append(home)
    if not homes:
        raise InputError(f"{path} names no home.", "Add a line for each.")
    feeders = dict.fromkeys(home["feeder"] for home in homes if home.get("feeder"))
    data: dict[str, Any] = {
        "site": {"id": site_id, "name": name},
        "transformer": {"rated_kva": rated_kva} if rated_kva else {},
        "feeder": [{"name": feeder} for feeder in feeders],
        "bus": {bus: {"port": port} for bus, port in buses.items()},
        "home": homes,
    }
    return validate(data, str(path))


def _home(path: Path, line: int, cells: dict[str, str], buses: dict[str, str]) -> dict[str, Any]:
    def bad(words: str) -> InputError:
        return InputError(f"{path}, line {line}: {words}", "Correct that line.")

    try:
        address = int(cells["address"], 0)
    except ValueError:
        raise bad(f"the address {cells['address']!r} is no number.") from None
    fixed = cells.pop("fixed", "").lower()
    if fixed not in _TRUE | _FALSE:
        raise bad(f"fixed is {fixed!r}, not yes or no.")
    bus = cells.get("bus") or (next(iter(buses)) if len(buses) == 1 else "")
    if bus not in buses:
        raise bad(
            f"bus {bus!r} has no port; give it with --bus {bus or 'NAME'}=PORT."
            if bus
            else "no bus is named, and there is not just one."
        )
    out: dict[str, Any] = {k: v for k, v in cells.items() if v and k in COLUMNS}
    out |= {"address": address, "bus": bus}
    if fixed in _TRUE:
        out["fixed"] = True
    if "phase" in out:
        out["phase"] = {"1": "A", "2": "B", "3": "C"}.get(out["phase"], out["phase"].upper())
    if "eui" in out:
        out["eui"] = out["eui"].lower().replace("-", "").replace(":", "")
    return out
