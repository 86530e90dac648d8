"""Draws how each home is heard over a radio, in as many columns as the screen has room for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .picture import RadioLine, short_name

WEAK_DB = 5.0  # to spare; less is marked
FRAME_ROWS = 3  # border and heads
FRAME_WIDTH = 4
GAP = 2  # between two columns of homes


class Field(NamedTuple):
    """One figure of a home: its head, the cells that it takes, and how it is told."""

    head: str
    width: int
    told: Callable[[RadioLine], Text]


def _home(line: RadioLine) -> Text:
    return Text(short_name(line.home), style="" if line.path else "red")


def _path(line: RadioLine) -> Text:
    return Text(line.path) if line.path else Text("silent", style="red")


def _snr(line: RadioLine) -> Text:
    return Text(f"{line.snr_db:.1f} dB")


def _snr_or_silent(line: RadioLine) -> Text:
    return _snr(line) if line.path else Text("silent", style="red")


def _spare(line: RadioLine) -> Text:
    spare = line.spare_db
    style = "yellow" if spare is None or spare < WEAK_DB else ""
    return Text("-" if spare is None else f"{spare:.0f} dB", style=style)


HOME = Field("home", 6, _home)
SF = Field("SF", 2, lambda line: Text(str(line.sf or "-")))
SPARE = Field("spare", 6, _spare)
ALL = (
    HOME,
    Field("path", 10, _path),
    SF,
    Field("RSSI", 8, lambda line: Text(f"{line.rssi_dbm:.0f} dBm")),
    Field("SNR", 8, _snr),
    SPARE,
    Field("air", 6, lambda line: Text(f"{line.airtime_share:.2%}")),
)
FEW = (HOME, SF, Field("SNR", 8, _snr_or_silent), SPARE._replace(width=5))


def side_by_side(fields: Sequence[Field], width: int) -> int:
    """How many homes stand side by side in a panel of `width` cells, at least one."""
    each = sum(field.width for field in fields) + len(fields) - 1
    return max((width - FRAME_WIDTH + GAP) // (each + GAP), 1)


def rows_for(homes: int, width: int, room: int) -> int:
    """Rows of a panel that shows all `homes`: with all figures where they fit into `room` rows,
    else with the fewest.
    """
    for fields in (ALL, FEW):
        rows = math.ceil(homes / side_by_side(fields, width)) + FRAME_ROWS
        if rows <= room:
            break
    return rows


def radio_panel(radios: Sequence[RadioLine], width: int, rows: int, elsewhere: str) -> Panel:
    """How each home is heard, the worst first, column by column; `elsewhere` is where all of them
    are seen when `rows` x `width` cells are too few.
    """
    room = max(rows - FRAME_ROWS, 1)
    fields = ALL if len(radios) <= room * side_by_side(ALL, width) else FEW
    columns = min(side_by_side(fields, width), max(math.ceil(len(radios) / room), 1))
    shown = radios[: columns * room]
    high = math.ceil(len(shown) / columns)
    table = Table.grid(padding=(0, 1, 0, 0))
    for _ in range(columns):
        for index, field in enumerate(fields):
            last = index == len(fields) - 1
            table.add_column(width=field.width + (GAP - 1 if last else 0), no_wrap=True)
    table.add_row(*(Text(field.head, style="dim") for _ in range(columns) for field in fields))
    for row in range(high):
        lines = shown[row::high]
        table.add_row(*(field.told(line) for line in lines for field in fields))
    left_out = len(radios) - len(shown)
    return Panel(
        table if radios else Text("no home is heard over a radio yet", style="dim"),
        title="[b]radio, the worst heard first",
        subtitle=f"+{left_out} more: {elsewhere}" if left_out else None,
        border_style="grey50",
    )
