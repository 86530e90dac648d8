"""How the report's pictures are drawn: SVG text to be put straight into the page.

No file beside the page, and no address in it: not even the names of XML's own vocabularies, which
a browser does not need within HTML.
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..run.metrics import Outcome, duration_curve
from ..run.study import Study

COLOURS = {
    "as_built": "#8a8f98",
    "best_static": "#c77d0a",
    "pbal": "#0a6ebd",
    "hindsight": "#3b8f4e",
}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": "#333a44",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "xtick.color": "#5b636e",
    "ytick.color": "#5b636e",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    # Text stays text: small files, and the reader can search it.
    "svg.fonttype": "none",
    # Fixed salt: the same study gives the same bytes.
    "svg.hashsalt": "pbal",
}


@contextmanager
def figure(
    width: float, height: float, columns: int = 1, *, alike: bool = True
) -> Iterator[tuple[Any, Any, list[str]]]:
    """A figure whose SVG ends up in the list when the block ends. alike: its columns show the same
    quantity, on one scale."""
    out: list[str] = []
    with matplotlib.rc_context(_STYLE):
        # Without pyplot: no window, and nothing to close.
        canvas = Figure(figsize=(width, height), layout="constrained")
        yield canvas, canvas.subplots(1, columns, sharey=alike and columns > 1), out
        buffer = io.StringIO()
        # savefig draws all twice, the first time for the layout alone.
        printed: Any = FigureCanvasSVG(canvas)
        printed.print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    out.append(text[text.index("<svg") :])


def dash(name: str) -> str:
    return "--" if name == "hindsight" else "-"


def inline(svg: str, name: str, title: str) -> str:
    """An SVG for inclusion in the page: no addresses, no name shared with another picture."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = svg.replace(' id="', f' id="{name}-').replace("url(#", f"url(#{name}-")
    svg = svg.replace('href="#', f'href="#{name}-')
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def curves(
    study: Study,
    values: Callable[[Outcome], NDArray[np.floating]],
    label: str,
    limit: tuple[float, str] | None = None,
    from_zero: bool = True,
) -> str:
    with figure(8.4, 3.3) as (_, ax, out):
        top, bottom = 0.0, 0.0 if from_zero else np.inf
        for name, outcome in study.outcomes.items():
            share, level = duration_curve(values(outcome))
            ax.plot(share, level, dash(name), color=COLOURS[name], label=outcome.trajectory.title)
            top, bottom = max(top, float(level.max())), min(bottom, float(level.min()))
        if limit is not None:
            ax.axhline(limit[0], color="#b3261e", linewidth=1, linestyle=":")
            ax.annotate(
                limit[1], (100, limit[0]), ha="right", va="bottom", color="#b3261e", fontsize=9
            )
            top = max(top, limit[0])
        ax.set(xlabel="share of time at or above this value, %", ylabel=label, xlim=(0, 100))
        if not from_zero:
            # At least 20 units, so that a negligible difference does not fill the picture.
            bottom = np.floor(bottom / 10) * 10
            top = max(top, bottom + 18.5)
        ax.set_ylim(bottom, bottom + (top - bottom) * 1.08 or 1)
        ax.legend(loc="upper right" if limit is None else "best")
    return out[0]
