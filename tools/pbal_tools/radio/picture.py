"""The plan as a map: where homes stand, which spreading factor each needs, how far each reaches."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib.figure import Figure

from .plan import Planned

# Distinguished by shape, too, not by colour alone.
MARKS = {
    7: ("o", "#1b7837"), 8: ("s", "#2b6cb0"), 9: ("^", "#5a3d8a"), 10: ("D", "#b3541e"),
    11: ("v", "#8a6d00"), 12: ("P", "#7a1f1f"), 0: ("x", "#b3261e"),
}  # fmt: skip


def save(planned: Planned, path: Path) -> None:
    """Writes the map; PNG or SVG by the file's name."""
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    axes = figure.subplots()
    far = max((home.distance_m for home in planned.homes), default=0.0)
    unit, name = (1000.0, "km") if far > 2000 else (1.0, "m")
    axes.plot(0, 0, "*", color="black", markersize=14, label="gateway")
    for sf in (*planned.factors, *([0] if planned.unreached else [])):
        mark, colour = MARKS[sf]
        found = [home for home in planned.homes if home.sf == sf]
        axes.plot(
            [home.x_m / unit for home in found], [home.y_m / unit for home in found], mark,
            color=colour, linestyle="", label=f"SF{sf}: {len(found)}" if sf else
            f"out of reach: {len(found)}",
        )  # fmt: skip
    if len(planned.homes) <= 40:
        for home in planned.homes:
            axes.annotate(
                home.name or str(home.address), (home.x_m / unit, home.y_m / unit), fontsize=6,
                xytext=(4, 4), textcoords="offset points",
            )  # fmt: skip
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.3)
    axes.set_xlabel(f"east, {name}", fontsize=8)
    axes.set_ylabel(f"north, {name}", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_title(
        f"{planned.assumed.region}, {planned.frequency_mhz:g} MHz: each home every "
        f"{planned.cycle_s:.1f} s",
        fontsize=9, loc="left",
    )  # fmt: skip
    figure.legend(fontsize=8, loc="outside lower center", ncols=4, frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "pbal"}):
        if path.suffix.lower() == ".svg":
            figure.savefig(path, format="svg", metadata={"Date": None})
        else:
            figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
