"""The report's pictures, drawn from the record: what was watched, and each transfer."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .survey import Heard, drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#b3541e", "#2b6cb0", "#5a7d2a")  # phases A, B, C: distinguishable without colour, too
STYLES = ("-", "--", ":")
_SIZE = (7.2, 2.6)


def png(figure: Figure) -> bytes:
    """A figure as a picture for paper and screen."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return out.getvalue()


def _axes(title: str, rows: int = 1) -> tuple[Figure, Any]:
    # Takes a second to load, and most records have no picture.
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIZE[0], _SIZE[1] * rows), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    axes[0].set_title(title, fontsize=9, loc="left")
    for one in axes:
        one.grid(alpha=0.3)
        one.tick_params(labelsize=8)
    return figure, axes


def _legend(axes: Any) -> None:
    """Above the axes, where no curve is."""
    axes.legend(
        fontsize=7, ncols=4, loc="lower right", bbox_to_anchor=(1, 1), frameon=False,
        borderaxespad=0.2,
    )  # fmt: skip


def _floats(values: list[Any]) -> list[float]:
    return [float("nan") if v is None else float(v) for v in values]


def watch_picture(data: dict[str, Any], address: int) -> bytes | None:
    """The home's voltages above, its power and the transformer's below; None: not watched."""
    notes = data["homes"].get(str(address), {}).get("phases")
    watch = data.get("watch")
    if not notes or not watch or not notes["record"]["times"]:
        return None
    start = notes["record"]["times"][0]
    times = [t - start for t in notes["record"]["times"]]
    figure, (above, below) = _axes(f"home {address}: what was watched", 2)
    for k in range(3):
        above.plot(
            times, _floats([row[k] for row in notes["record"]["v"]]), STYLES[k],
            color=COLOURS[k], lw=1.0, label=f"input {'abc'[k]}",
        )  # fmt: skip
    above.plot(times, _floats(notes["record"]["vout"]), color="black", lw=0.7, label="output")
    above.set_ylabel("V", fontsize=8)
    below.plot(times, _floats(notes["record"]["p_w"]), color="black", lw=1.2, label="home")
    if watch["metered"]:
        for k in range(3):
            series = _floats([row[k] for row in watch["meter_w"]])
            below.plot(
                [t - start for t in watch["times"]], series, STYLES[k], color=COLOURS[k], lw=1.0,
                label=f"transformer {'ABC'[k]}",
            )  # fmt: skip
    below.set_ylabel("W", fontsize=8)
    below.set_xlabel("s", fontsize=8)
    for one in (above, below):
        _legend(one)
    return png(figure)


def survey_picture(data: dict[str, Any]) -> bytes | None:
    """How well each home of a radio is heard; None: not surveyed."""
    told = data.get("survey")
    if not told or not told["homes"]:
        return None
    return png(drawn([Heard(**home) for home in told["homes"]], told["margin_db"]))


def transfer_picture(data: dict[str, Any], address: int) -> bytes | None:
    """The output while the home visited each phase; None: not tested."""
    notes = data["homes"].get(str(address), {}).get("transfer", {})
    trace = notes.get("trace")
    if not trace:
        return None
    figure, (axes,) = _axes(f"home {address}: transfer test, as the node told it")
    times = [row[0] for row in trace]
    for k in range(3):
        axes.plot(
            times, [row[1 + k] for row in trace], STYLES[k], color=COLOURS[k], lw=0.8,
            label=f"input {'abc'[k]}",
        )  # fmt: skip
    axes.plot(times, [row[4] for row in trace], ".-", color="black", lw=0.9, ms=3, label="output")
    for move in notes["moves"]:
        axes.annotate(
            f"{move['from']}\u2192{move['to']}\n{move['transfer_ms']} ms",
            (move["trace_s"] + 0.35, 110), fontsize=7, ha="left",
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_ylabel("V", fontsize=8)
    axes.set_xlabel("s", fontsize=8)
    _legend(axes)
    return png(figure)
