"""The files that a study writes: study.json, CSV tables and report.html."""

import contextlib
import csv
import json
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..run.metrics import duration_curve
from ..run.study import Study

SCHEMA = 1
FILES = ("report.html", "study.json", "summary.csv", "duration.csv", "homes.csv")
"""What a study leaves in its folder."""


def as_dict(study: Study) -> dict[str, Any]:
    """The whole result as plain types, for JSON. Ratios are 0..1; names carry other units."""
    feeder = study.feeder
    names = [home.name for home in feeder.homes]
    return {
        "schema": SCHEMA,
        "feeder": {
            "title": study.options.title,
            "name": feeder.name,
            "homes": feeder.n_homes,
            "fixed_loads": len(feeder.fixed),
            "homes_per_phase": [int((feeder.phases == p).sum()) for p in range(3)],
            "modelled": feeder.exact,
            "transformer": feeder.transformer.name,
            "rated_kva": feeder.transformer.rated_kva,
        },
        "period": {
            "start": str(study.profiles.start),
            "days": study.days,
            "step_s": study.profiles.step_s,
        },
        "options": study.options.as_dict(),
        "relays": [names[k] for k in np.flatnonzero(study.relays)],
        "cars": [names[k] for k in study.cars],
        "roofs": [names[k] for k in study.roofs],
        "controllers": study.summary,
        "share_of_hindsight": share_of_hindsight(study),
        "relay_choice": study.relay_choice,
        "relay_order": [names[k] for k in study.relay_order],
        "relay_benefit": [vars(b) for b in (*study.benefits, *study.less_known)],
        "objectives": [w.as_dict() for w in study.objectives],
        "hosting": [h.as_dict() for h in study.hosting],
        "engine_difference_a": study.engine_difference_a,
        "notes": study.notes,
    }


def share_of_hindsight(study: Study) -> float | None:
    """pbal's neutral-current cut over that of the hindsight optimum."""
    both = study.summary.get("pbal"), study.summary.get("hindsight")
    if both[0] is None or both[1] is None or both[1]["neutral_a"]["cut"] <= 0:
        return None
    return float(both[0]["neutral_a"]["cut"] / both[1]["neutral_a"]["cut"])


def check_folder(out: Path, inputs: Iterable[Path | None], names: Iterable[str] = FILES) -> None:
    """Checks before the work starts that the results, files of these names, can be written after it
    and do not replace a file that is read. Leaves no file. Raises InputError."""
    inputs = list(inputs)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is not a folder.", "Give --out a folder.")
    for name in names:
        if (out / name).is_dir():
            raise InputError(f"{out / name} is a folder.", "Give --out another folder.")
        for path in inputs:
            if path is not None and path.resolve() == (out / name).resolve():
                raise InputError(
                    f"{path} is read, and the results would be written over it.",
                    "Give --out another folder.",
                )
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as exc:
        raise InputError(
            f"The folder {out} cannot be written: {exc.strerror}.", "Give --out another folder."
        ) from None
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()


def write_all(study: Study, folder: Path, html: str) -> list[Path]:
    """Writes every file; returns their paths, the report first.

    All of them are written beside, and only then take the places of older ones: an interruption
    or a full disk leaves the folder as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".study-", dir=folder) as beside:
        new = Path(beside)
        (new / "report.html").write_text(html, encoding="utf-8")
        text = json.dumps(_finite(as_dict(study)), allow_nan=False, indent=2, default=str)
        (new / "study.json").write_text(text + "\n", encoding="utf-8")
        _summary(study, new)
        _durations(study, new)
        _homes(study, new)
        for name in FILES:
            os.replace(new / name, folder / name)
    return [folder / name for name in FILES]


def _summary(study: Study, folder: Path) -> None:
    """One row per controller and figure."""
    path = folder / "summary.csv"
    rows: list[tuple[str, str, Any]] = []

    def walk(name: str, prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(name, f"{prefix}.{key}" if prefix else str(key), inner)
        elif isinstance(value, list):
            if len(value) == 3:
                for phase, inner in zip("abc", value, strict=True):
                    rows.append((name, f"{prefix}.{phase}", inner))
        else:
            rows.append((name, prefix, value))

    for name, figures in study.summary.items():
        walk(name, "", figures)
    _write_csv(path, ["controller", "figure", "value"], rows)


def _durations(study: Study, folder: Path) -> None:
    """Load duration curves: neutral and phase currents at each percent of time."""
    path = folder / "duration.csv"
    header, columns = ["percent_of_time"], [duration_curve(np.zeros(2), 1001)[0]]
    for name, outcome in study.outcomes.items():
        header.append(f"{name}_neutral_a")
        columns.append(duration_curve(outcome.neutral_a, 1001)[1])
        for phase in range(3):
            header.append(f"{name}_phase_{'abc'[phase]}_a")
            columns.append(duration_curve(outcome.phase_a[:, phase], 1001)[1])
    rows = [
        [f"{x:.4g}" if k else f"{x:.1f}" for k, x in enumerate(row)]
        for row in zip(*columns, strict=True)
    ]
    _write_csv(path, header, rows)


def _homes(study: Study, folder: Path) -> None:
    """One row per home: where it is, what it draws, its rank for a relay, its switchings."""
    path = folder / "homes.csv"
    rank = {home: place for place, home in enumerate(study.relay_order, start=1)}
    names = [n for n in ("pbal", "hindsight") if n in study.outcomes]
    counts = {n: study.outcomes[n].trajectory.switchings() for n in names}
    header = ["home", "bus", "phase", "mean_w", "relay", "car", "roof", "relay_rank"]
    header += [f"{n}_switchings_per_day" for n in names]
    header += [f"{n}_{edge}_v" for n in study.outcomes for edge in ("min", "max")]
    rows = []
    for k, home in enumerate(study.feeder.homes):
        row: list[Any] = [
            home.name,
            home.bus,
            "ABC"[home.phase],
            f"{study.mean_w[k]:.1f}",
            _yes(bool(study.relays[k])),
            _yes(k in study.cars),
            _yes(k in study.roofs),
            rank.get(int(study.feeder.first_at[study.feeder.joint_of[k]]), ""),
        ]
        row += [f"{counts[n][k] / study.days:.3f}" for n in names]
        for outcome in study.outcomes.values():
            row += [f"{outcome.volts_low[k]:.2f}", f"{outcome.volts_high[k]:.2f}"]
        rows.append(row)
    _write_csv(path, header, rows)


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _write_csv(path: Path, header: list[str], rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
