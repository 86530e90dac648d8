"""The files that a fleet study writes: the ranked table as CSV and Parquet, the map as GeoJSON, the
report, and all of it as JSON."""

import csv
import importlib.util
import json
import math
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .job import COLUMNS, Row
from .page import render
from .processes import POOL
from .store import FILE
from .study import Fleet

HEADER = ("rank", *COLUMNS)
NAMES = ("fleet.html", "fleet.csv", "fleet.json", "fleet.parquet", "fleet.geojson", FILE, POOL)
"""What a fleet may write in its folder."""
_TEXT = ("station", "status", "reason", "notes")
_WHOLE = (
    "rank", "homes", "relays", "overloaded_built", "overloaded_pbal", "voltage_failed_built",
    "voltage_failed_pbal", "unbalance_failed_built", "unbalance_failed_pbal", "violations_built",
    "violations_pbal", "violations_gone",
)  # fmt: skip


def as_dict(fleet: Fleet) -> dict[str, Any]:
    """Options, totals and rows as plain types, for JSON."""
    options = {k: str(v) if isinstance(v, Path) else v for k, v in vars(fleet.options).items()}
    options["shared"] = fleet.options.shared.as_dict()
    return {
        "schema": 1,
        "options": options,
        "rank_by": fleet.rank_by,
        "resumed": fleet.resumed,
        "totals": asdict(fleet.all_of_them),
        "totals_that_pay": asdict(fleet.those_that_pay),
        "notes": list(fleet.notes),
        "stations": [_finite(row) for row in fleet.rows],
    }


def write_all(fleet: Fleet, folder: Path) -> list[Path]:
    """Writes every file, the report first; GeoJSON where a station has a place, Parquet where
    pyarrow is installed. Files take the places of older ones only when all are written."""
    with tempfile.TemporaryDirectory(prefix=".fleet-", dir=folder) as beside:
        new = Path(beside)
        (new / "fleet.html").write_text(render(fleet), encoding="utf-8")
        _write_csv(fleet.rows, new / "fleet.csv")
        text = json.dumps(as_dict(fleet), allow_nan=False, indent=1, default=str)
        (new / "fleet.json").write_text(text + "\n", encoding="utf-8")
        if parquet_here():
            _write_parquet(fleet.rows, new / "fleet.parquet")
        placed = [row for row in fleet.rows if row["longitude"] is not None]
        if placed:
            _write_geojson(placed, new / "fleet.geojson")
        names = sorted((p.name for p in new.iterdir()), key=lambda n: (n != "fleet.html", n))
        for name in names:
            os.replace(new / name, folder / name)
    return [folder / name for name in names]


def parquet_here() -> bool:
    """Whether this computer can write Parquet."""
    return importlib.util.find_spec("pyarrow") is not None


def _write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({k: _short(v) for k, v in row.items()} for row in rows)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _write_parquet(rows: list[Row], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    def kind(name: str) -> Any:
        return pa.string() if name in _TEXT else pa.int64() if name in _WHOLE else pa.float64()

    # Types are stated, so that a column without a value has its type, too.
    schema = pa.schema([(name, kind(name)) for name in HEADER])
    columns = {name: [row.get(name) for row in rows] for name in HEADER}
    parquet.write_table(pa.table(columns, schema=schema), path)


def _write_geojson(rows: list[Row], path: Path) -> None:
    """RFC 7946: longitude first."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]},
            "properties": _finite({k: v for k, v in row.items() if k in HEADER}),
        }
        for row in rows
        if row["latitude"] is not None
    ]
    told = {"type": "FeatureCollection", "features": features}
    path.write_text(json.dumps(told, allow_nan=False) + "\n", encoding="utf-8")


def _finite(row: Row) -> Row:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
