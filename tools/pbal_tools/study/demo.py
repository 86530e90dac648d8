"""A street to try the study on: a small feeder and the twin's generated households.

30 homes on 300 m of cable behind a 100 kVA transformer, four-wire with an explicit neutral. The
phases are as unequal as on real streets, where homes are connected without a plan.
"""

import gzip
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbal_sim.households import GeneratedLoads
from pbal_study.feeder.model import Real

HOMES = 30
START = np.datetime64("2026-01-12T00:00:00", "s")
START_DAY = 12

# Where the 30 homes were connected; phase A has 13, B 10, C 7.
_PHASES = "AABACBAACBABACABBACABCBABACBAC"


def feeder_text() -> str:
    """The demonstration feeder as OpenDSS text."""
    lines = [
        "! pbal study: demonstration feeder, 30 homes, four-wire cable with explicit neutral.",
        "Clear",
        "Set DefaultBaseFrequency=50",
        "New Circuit.demo basekV=11 pu=1.0 MVAsc3=200 MVAsc1=150",
        "New Transformer.street Phases=3 Windings=2 Buses=[SourceBus lv.1.2.3.4]"
        " Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100] XHL=4 %LoadLoss=1.6 %NoLoadLoss=0.2",
        "New Reactor.earth Phases=1 Bus1=lv.4 Bus2=lv.0 R=0.5 X=0.01",
        # Aluminium 4 x 95 mm2: 0.32 ohm/km a conductor; mutual terms are reactive plus earth.
        "New LineCode.al95 nphases=4 Units=km BaseFreq=50",
        "~ Rmatrix=[0.369 | 0.049 0.369 | 0.049 0.049 0.369 | 0.049 0.049 0.049 0.369]",
        "~ Xmatrix=[0.76 | 0.68 0.76 | 0.66 0.68 0.76 | 0.68 0.66 0.68 0.76]",
        "~ Cmatrix=[1 | 0 1 | 0 0 1 | 0 0 0 1]",
    ]
    before = "lv"
    for pole in range(1, 11):
        lines.append(
            f"New Line.main{pole} Phases=4 Bus1={before}.1.2.3.4 Bus2=pole{pole}.1.2.3.4"
            " LineCode=al95 Length=30 Units=m"
        )
        before = f"pole{pole}"
    for home in range(HOMES):
        node = "ABC".index(_PHASES[home]) + 1
        lines.append(
            f"New Load.home_{home + 1:02d} Phases=1 Bus1=pole{home // 3 + 1}.{node}.4 kV=0.23 kW=1"
            " PF=0.95 Model=1 Vminpu=0.85 Vmaxpu=1.15"
        )
    lines += ["Set VoltageBases=[11 0.4]", "CalcVoltageBases", "Solve", ""]
    return "\n".join(lines)


def home_watts(days: float, seed: int, homes: int = HOMES) -> NDArray[np.float32]:
    """The twin's generated households, without cars or solar: watts at one minute, [T, homes]."""
    street = GeneratedLoads(homes, seed=seed, ev_share=0.0, start_day=START_DAY)
    steps = max(2, round(days * 1440))
    whole = [street.day(day) for day in range(int(np.ceil(steps / 1440)))]
    return np.vstack(whole)[:steps].astype(np.float32)


def write_demo(folder: Path, days: float, seed: int) -> tuple[Path, Path]:
    """Writes the demonstration's input files, as examples of the formats; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    feeder = folder / "demo_feeder.dss"
    profiles = folder / "demo_profiles.csv.gz"
    watts = home_watts(days, seed)
    # Written beside first: an interruption leaves no partial file.
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=folder) as beside:
        half = Path(beside) / profiles.name
        write_profiles(half, START, watts)
        os.replace(half, profiles)
    feeder.write_text(feeder_text(), encoding="utf-8")
    return feeder, profiles


def write_profiles(path: Path, start: np.datetime64, watts: Real | NDArray[np.float32]) -> None:
    """Writes watts [T, N] at one minute in the format `profiles` reads."""
    times = start + np.arange(len(watts)) * np.timedelta64(60, "s")
    header = ",".join(["time", *(f"home_{k + 1:02d}" for k in range(watts.shape[1]))])
    # mtime=0: the same demo gives the same bytes.
    with (
        path.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file,
    ):
        file.write(f"{header}\n".encode())
        for when, row in zip(
            times.astype("datetime64[m]"), np.rint(watts).astype(int), strict=True
        ):
            file.write(f"{when},{','.join(map(str, row))}\n".encode())
