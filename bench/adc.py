"""Error curves of the ADC front end against a simulated ESP32 converter.

    python -m bench.adc [--json] [--picture FILE] [--seeds 3]

The firmware's own metering code runs on the MicroPython interpreter in virtual time. The simulated
front end has 12-bit steps, the curvature that the ESP32's factory calibration leaves (8 mV peak),
1.3 % and 1.9 % gain errors, a CT that leads by 1.2 degrees, 45 us per conversion, and noise. Each
case is calibrated at two points first, then swept from 2 % to 100 % of 60 A at power factors 1,
0.8 and 0.5, import and export. Evaluated is one reading, as telemetry carries it, of a load that
was steady for a while. Noise is given in two ways, because it determines the result: 1 % of the
signal, and 1 % of the converter's range. At 2 % load the latter is half as much noise as signal;
two minutes of samples average it away, which metering/steady.py does while a load does not change.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# name, noise share, of what, seconds that the load is steady before the reading, calibrated
CASES = (
    ("no noise, not calibrated", 0.0, "signal", 3, False),
    ("no noise", 0.0, "signal", 3, True),
    ("1 % of the signal, after 3 s", 0.01, "signal", 3, True),
    ("1 % of the range, after 3 s", 0.01, "range", 3, True),
    ("1 % of the range, after 120 s", 0.01, "range", 120, True),
)
V_LIMIT, P_LIMIT = 0.005, 0.01


def sweep(
    noise: float, of: str, steady_s: int, seed: int, calibrated: bool
) -> list[dict[str, Any]]:
    """One sweep on MicroPython: a row per load and power factor."""
    paths = [".frozen", *(str(ROOT / p) for p in ("bench", "protocol", "firmware"))]
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("micropython")), "-X", "heapsize=4m"),
            *(str(ROOT / "bench" / "adc_sweep.py"), str(noise), of, "1", str(seed)),
            *("1" if calibrated else "0", str(steady_s)),
        ],
        env=dict(os.environ, MICROPYPATH=":".join(paths)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr or done.stdout)
    return [json.loads(line) for line in done.stdout.splitlines()]


def measure(seeds: int) -> dict[str, Any]:
    """Every case over `seeds` noise sequences: worst errors overall and the curves."""
    jobs = [(case, 977 + 7919 * k) for case in CASES for k in range(seeds if case[1] else 1)]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        rows = list(pool.map(lambda j: sweep(j[0][1], j[0][2], j[0][3], j[1], j[0][4]), jobs))
    cases: dict[str, Any] = {}
    for (case, _seed), found in zip(jobs, rows, strict=True):
        cases.setdefault(case[0], []).extend(found)
    result: dict[str, Any] = {"v_limit": V_LIMIT, "p_limit": P_LIMIT, "cases": {}}
    for name, found in cases.items():
        shares = sorted({r["share"] for r in found})
        curve = [
            {
                "share": share,
                "v_worst": max(abs(r["v_error"]) for r in found if r["share"] == share),
                "p_worst": max(abs(r["p_error"]) for r in found if r["share"] == share),
                "i_worst": max(abs(r["i_error"]) for r in found if r["share"] == share),
            }
            for share in shares
        ]
        within = [c["share"] for c in curve if c["p_worst"] > P_LIMIT]
        result["cases"][name] = {
            "v_worst": max(c["v_worst"] for c in curve),
            "p_worst": max(c["p_worst"] for c in curve),
            "p_within_1_percent_above_share": max(within) if within else 0.0,
            "curve": curve,
        }
    return result


def draw(result: dict[str, Any], path: Path) -> None:
    """The error curves as a picture (SVG or PNG, by the file's name)."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "pbal"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharex=True)
    for axis, key, limit, title in (
        (axes[0], "v_worst", V_LIMIT, "voltage"),
        (axes[1], "p_worst", P_LIMIT, "real power"),
    ):
        for name, case in result["cases"].items():
            x = [100 * c["share"] for c in case["curve"]]
            axis.loglog(x, [100 * max(c[key], 1e-6) for c in case["curve"]], "o-", label=name)
        axis.axhline(100 * limit, color="black", linestyle="--", linewidth=1)
        axis.set_xlabel("load, % of 60 A")
        axis.set_ylabel("worst error, %")
        axis.set_title(title)
        axis.grid(True, which="both", alpha=0.3)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="lower center", ncol=3, fontsize=8)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--picture", type=Path, help="write the error curves to this file")
    parser.add_argument("--seeds", type=int, default=3, help="noise sequences per noisy case")
    args = parser.parse_args()
    result = measure(args.seeds)
    if args.picture:
        draw(result, args.picture)
    if args.json:
        print(json.dumps(result))
        return
    for name, case in result["cases"].items():
        print(f"{name:28s} V {100 * case['v_worst']:.2f} %   P {100 * case['p_worst']:.2f} % worst")


if __name__ == "__main__":
    main()
