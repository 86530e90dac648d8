"""The survey of a radio link as the crew stands at the pole: how well each home is heard.

A node that has power asks to join by itself; the controller of the site hears it and gives it a
slot. So the survey asks that controller's status page and nothing else: it works from a laptop on
the site's network, for any number of homes at once, also while the controller runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from ..statusclient import fetch, spare_db

FRAMES = 5  # heard during the survey, before a link is judged
MARGIN_DB = 6.0
_EVERY_S = 1.0


@dataclass
class Heard:
    """One home: means of what was heard during the survey. `spare_db`: above what its spreading
    factor needs; None while nothing was heard."""

    address: int
    name: str
    sf: int = 0
    bridge: int = 0  # a wired home: the bridge whose link this is
    frames: int = 0
    rssi_dbm: float | None = None
    snr_db: float | None = None
    spare_db: float | None = None
    verdict: str = "silent"  # or "weak", "good"


@dataclass
class Survey:
    """What the controller tells over some time. `margin_db`: what a good link has to spare."""

    margin_db: float
    wanted: frozenset[int] = frozenset()  # addresses; empty: every home with a radio
    homes: dict[int, Heard] = field(default_factory=dict)
    strangers: list[dict[str, Any]] = field(default_factory=list)
    _first: dict[int, int] = field(default_factory=dict)
    _sums: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def note(self, status: dict[str, Any]) -> None:
        """One status of the controller."""
        radios = {b["name"] for b in status.get("buses", ()) if b.get("kind") == "lora"}
        self.strangers = [one for b in status.get("buses", ()) for one in b.get("strangers", ())]
        for item in status["homes"]:
            address = int(item["address"])
            told = item.get("radio")
            on_air = told is not None or item.get("path") in radios
            if self.wanted and address not in self.wanted:
                continue
            if not self.wanted and not on_air and item.get("path") is not None:
                continue  # it is on wires alone
            home = self.homes.setdefault(address, Heard(address, str(item.get("name") or "")))
            if told is not None:
                self._heard(home, told)

    def _heard(self, home: Heard, told: dict[str, Any]) -> None:
        frames = int(told.get("frames", 0))
        first = self._first.setdefault(home.address, frames)
        if frames < first:  # the controller was started again
            first = self._first[home.address] = frames
        if frames == first + home.frames and home.frames:
            return  # nothing new
        home.frames = frames - first
        home.sf = int(told.get("sf", 0))
        home.bridge = int(told.get("bridge", 0))
        if not home.frames:
            return
        values = self._sums.setdefault(home.address, [])
        values.append((float(told["rssi_dbm"]), float(told["snr_db"])))
        home.rssi_dbm = round(sum(rssi for rssi, _ in values) / len(values), 1)
        home.snr_db = round(sum(snr for _, snr in values) / len(values), 1)
        spare = spare_db(home.snr_db, home.sf)
        if spare is None:
            return
        home.spare_db = round(spare, 1)
        enough = home.frames >= FRAMES and home.spare_db >= self.margin_db
        home.verdict = "good" if enough else "weak"

    @property
    def missing(self) -> list[int]:
        """Homes that were asked for and are not known to the controller."""
        return sorted(self.wanted - set(self.homes))

    @property
    def done(self) -> bool:
        """Whether every home is good."""
        return bool(self.homes) and not self.missing and not self.bad()

    def bad(self) -> list[Heard]:
        """Homes without a good link."""
        return [home for home in self.rows() if home.verdict != "good"]

    def rows(self) -> list[Heard]:
        """By address."""
        return [self.homes[address] for address in sorted(self.homes)]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "margin_db": self.margin_db,
            "homes": [asdict(home) for home in self.rows()],
            "unknown_to_the_controller": self.missing,
            "strangers": self.strangers,
        }


async def watch(
    survey: Survey,
    url: str,
    seconds: float,
    headers: dict[str, str],
    tell: Callable[[Survey], None] = lambda survey: None,
) -> None:
    """Ask the controller until every home is good, `seconds` at most. Raises as `fetch` does."""
    deadline = time.monotonic() + seconds
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            survey.note(await fetch(session, url))
            tell(survey)
            if survey.done or time.monotonic() >= deadline:
                return
            await asyncio.sleep(min(_EVERY_S, max(0.0, deadline - time.monotonic())))


def lines(survey: Survey) -> Iterable[str]:
    """For a terminal."""
    yield f"{'home':>6}  {'name':<20} {'SF':>3} {'RSSI':>8} {'SNR':>7} {'spare':>7} {'frames':>6}"
    for home in survey.rows():
        figures: Sequence[str] = ("-", "-", "-", "-")
        if home.spare_db is not None:
            figures = (
                str(home.sf), f"{home.rssi_dbm:.0f} dBm", f"{home.snr_db:.1f} dB",
                f"{home.spare_db:.1f} dB",
            )  # fmt: skip
        sf, rssi, snr, spare = figures
        by = f" (bridge {home.bridge})" if home.bridge else ""
        yield (
            f"{home.address:>6}  {home.name[:20]:<20} {sf:>3} {rssi:>8} {snr:>7} {spare:>7} "
            f"{home.frames:>6}  {home.verdict}{by}"
        )
    for address in survey.missing:
        yield f"{address:>6}  the controller does not know this home"
    for one in survey.strangers:
        yield (
            f"heard {one['address']} at {one['rssi_dbm']:.0f} dBm: no home of this controller, or "
            "its key is another"
        )


def drawn(rows: Sequence[Heard], margin_db: float) -> Any:
    """A figure of what each home has to spare."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.2 + 0.32 * max(1, len(rows))), layout="constrained")
    axes = figure.subplots()
    colours = {"good": "#1b7837", "weak": "#b3541e", "silent": "#b3261e"}
    for i, home in enumerate(rows):
        axes.barh(i, home.spare_db or 0.0, color=colours[home.verdict], height=0.6)
        words = home.verdict
        if home.spare_db is not None:
            words = f"{home.rssi_dbm:.0f} dBm, SF{home.sf}, {home.frames} frames: {home.verdict}"
        axes.text(max(home.spare_db or 0.0, 0.0) + 0.3, i, words, va="center", fontsize=7)
    axes.axvline(margin_db, color="black", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), [home.name or str(home.address) for home in rows])
    axes.invert_yaxis()
    axes.margins(x=0.35)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("signal to noise, dB above what the spreading factor needs", fontsize=8)
    good = sum(home.verdict == "good" for home in rows)
    axes.set_title(
        f"{good} of {len(rows)} homes have {margin_db:g} dB to spare", fontsize=9, loc="left"
    )
    return figure


def save(survey: Survey, path: Path) -> None:
    """A picture: what each home has to spare; PNG or SVG by the file's name."""
    import matplotlib

    figure = drawn(survey.rows(), survey.margin_db)
    with matplotlib.rc_context({"svg.hashsalt": "pbal"}):
        if path.suffix.lower() == ".svg":
            figure.savefig(path, format="svg", metadata={"Date": None})
        else:
            figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
