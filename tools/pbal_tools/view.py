"""Draws a Picture with rich: what the live screens of `pbal sim run` and `pbal monitor` show."""

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .picture import (
    PHASES,
    HomeCell,
    Link,
    MoveLine,
    Picture,
    phase_letter,
    sentence,
    short_name,
)
from .radioview import FRAME_ROWS, radio_panel, rows_for

# The phase colours of many countries' wiring: red, yellow, blue.
COLOURS = {0: "grey50", 1: "red", 2: "yellow", 3: "dodger_blue1"}
EIGHTHS = " ▁▂▃▄▅▆▇█"
CELL_WIDTH = 9
CELL_GAP = 1
POWER_WIDTH = 5  # of "-3.0k"
MOVES_ROWS = 6  # two moves with their border: no radio takes these
RADIOS_AT_LEAST = 2  # homes; a panel for fewer is left out
PRINTED_HEIGHT = 30  # of a screen that is printed once, at least
PRINTED_MOVES_ROWS = 12
ALL_HOMES = "pbal monitor --once"
ALL_RADIOS = "pbal monitor --radio"
ALL_RADIOS_PRINTED = "pbal monitor --radio --once"
NARROW = 34  # a panel of phases below this width shows amperes only


def columns(values: Sequence[float], width: int, height: int, top: float) -> list[str]:
    """A column chart of the last `width` values as `height` lines of block characters.

    `top` is the value of a full column; larger values are cut there.
    """
    shown = list(values)[-width:]
    steps = [round(min(max(v / top, 0.0), 1.0) * height * 8) if top > 0 else 0 for v in shown]
    # A value above zero is always visible.
    steps = [max(step, 1) if value > 0 else step for step, value in zip(steps, shown, strict=True)]
    return [
        "".join(EIGHTHS[min(max(step - row * 8, 0), 8)] for step in steps)
        for row in reversed(range(height))
    ]


def stretch(values: Sequence[float], width: int) -> list[float]:
    """The same curve over `width` columns: means of neighbours, or repeated values."""
    n = len(values)
    if n == 0 or width <= 0:
        return []
    out = []
    for column in range(width):
        first = column * n // width
        last = max(first + 1, (column + 1) * n // width)
        part = values[first:last]
        out.append(sum(part) / len(part))
    return out


def bar(value: float, top: float, width: int) -> str:
    """A horizontal bar with eighth-character resolution."""
    eighths = round(min(max(value / top, 0.0), 1.0) * width * 8) if top > 0 else 0
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def phases_panel(picture: Picture, width: int) -> Panel:
    """Three bars, one a phase; without voltages and counts where there is no room."""
    table = Table.grid(padding=(0, 1))
    currents = picture.phase_a or (0.0, 0.0, 0.0)
    top = max(*currents, 1.0)
    narrow = width < NARROW
    room = max(width - (16 if narrow else 24), 4)
    for index, name in enumerate(PHASES):
        colour = COLOURS[index + 1]
        volts = picture.phase_v[index]
        count = sum(home.phase == index + 1 for home in picture.homes)
        table.add_row(
            Text(name, style=f"bold {colour}"),
            Text(bar(currents[index], top, room).ljust(room), style=colour),
            Text(f"{currents[index]:5.1f} A" if picture.phase_a else "    - A", style="bold"),
            Text(f"{volts:3.0f} V" if volts and not narrow else "", style="dim"),
        )
        if narrow:
            continue
        table.add_row("", Text(f"{count} homes" if count != 1 else "1 home", style="dim"), "", "")
    return Panel(table, title="[b]load of the three phases", border_style="grey50")


def neutral_panel(picture: Picture, width: int, height: int) -> Panel:
    """The neutral current over time: the curve that should fall."""
    now, before, cut = picture.neutral_a, picture.neutral_before_a, picture.cut
    head = Text()
    if now is None:
        head.append("not measured yet", style="dim")
    else:
        if before is not None and cut is not None:
            head.append(f"{before:.1f} A", style="bold red")
            head.append("  →  ")
            head.append(f"{now:.1f} A", style="bold green" if cut > 0 else "bold red")
            head.append(f"   {-100 * cut:+.0f} %", style="green" if cut > 0 else "red")
        else:
            head.append(f"{now:.1f} A", style="bold red")
    values = [value for _, value in picture.history]
    rows = max(height - 4, 1)
    chart_width = max(width - 6, 8)
    top = max([*values, 1.0])
    chart = Text()
    # From the left edge while the history is short, compressed once it is longer.
    shown = values if len(values) <= chart_width else stretch(values, chart_width)
    for index, line in enumerate(columns(shown, chart_width, rows, top)):
        share = (rows - index) / rows
        chart.append(
            line + "\n", style="red" if share > 0.66 else "yellow" if share > 0.33 else "green"
        )
    body = Group(head, chart)
    return Panel(body, title="[b]neutral current (wasted)", border_style="grey50")


def home_cell(home: HomeCell, width: int = CELL_WIDTH) -> Text:
    """One home: its name, and its power where it fits, on its phase's colour."""
    colour = COLOURS[home.phase]
    label = short_name(home.name)
    if home.age_s is None:
        return Text(f"{label} ...".ljust(width)[:width], style="dim")
    power = "" if home.power_w is None else kilowatts(home.power_w)
    mark = "⇄" if home.moving else "!" if home.trouble else "=" if home.fixed else " "
    room = width - len(label) - 1
    # A figure that is cut would be another figure.
    text = f"{label}{mark}{power if len(power) <= room else '':>{max(room, 0)}}"
    style = f"#000000 on {colour}"
    if home.moving:
        style = f"bold blink #ffffff on {colour}"
    elif home.trouble:
        style = "#ffffff on grey30"
    return Text(text, style=style)


def kilowatts(power_w: float) -> str:
    """Watts in few characters: 85W, 1.2k, -3.0k."""
    return f"{power_w:.0f}W" if abs(power_w) < 950 else f"{power_w / 1000:.1f}k"


def homes_legend() -> Text:
    """What the colours and marks of the homes mean."""
    legend = Text()
    for phase in (1, 2, 3):
        legend.append(" ■ ", style=COLOURS[phase])
        legend.append(PHASES[phase - 1])
    legend.append("   ⇄ moving  ! look  = fixed", style="dim")
    return legend


def cell_widths(picture: Picture) -> range:
    """Cells that a home may take: with any power beside its name, down to name and mark."""
    label = max((len(short_name(home.name)) for home in picture.homes), default=0)
    return range(max(label + 1 + POWER_WIDTH, CELL_WIDTH), label, -1)


def homes_per_row(width: int, cell: int) -> int:
    """How many homes of `cell` cells stand side by side in a panel of `width`."""
    return max((width - 4 + CELL_GAP) // (cell + CELL_GAP), 1)


def homes_frame_rows(width: int) -> int:
    """Rows of the panel of homes beside those of its homes: border and legend."""
    return 2 + (1 if homes_legend().cell_len <= width - 4 else 2)


def homes_rows(picture: Picture, width: int, cell: int) -> int:
    """Rows of the panel that shows every home in `cell` cells."""
    return math.ceil(len(picture.homes) / homes_per_row(width, cell)) + homes_frame_rows(width)


def homes_panel(picture: Picture, width: int, rows: int) -> Panel:
    """The grid of homes, coloured by phase, in cells as wide as `rows` rows have room for."""
    widths = cell_widths(picture)
    fitting = (cell for cell in widths if homes_rows(picture, width, cell) <= rows)
    cell = next(fitting, widths[-1])
    per_row = homes_per_row(width, cell)
    shown = picture.homes[: per_row * max(rows - homes_frame_rows(width), 1)]
    grid = Table.grid(padding=(0, CELL_GAP, 0, 0))
    cells = [home_cell(home, cell) for home in shown]
    for start in range(0, len(cells), per_row):
        grid.add_row(*cells[start : start + per_row])
    left_out = len(picture.homes) - len(shown)
    return Panel(
        Group(grid, homes_legend()),
        title="[b]homes",
        subtitle=f"+{left_out} more: {ALL_HOMES}" if left_out else None,
        border_style="grey50",
    )


def moves_panel(moves: Sequence[MoveLine], rows: int, beneath: str = "") -> Panel:
    """The last moves and their reasons, newest first; as many as surely fit into `rows` lines.
    `beneath` is told in the border below.
    """
    body = Text()
    for move in list(moves)[: max(rows // 2, 1)]:
        mark, style = "…", "yellow"
        if move.done:
            mark, style = ("✗", "red") if move.failed else ("✓", "green")
        body.append(f"{mark} {move.home} ", style=f"bold {style}")
        body.append(phase_letter(move.from_phase), style=f"bold {COLOURS[move.from_phase]}")
        body.append("→")
        body.append(phase_letter(move.to_phase), style=f"bold {COLOURS[move.to_phase]}")
        body.append(f"  {move.state}\n", style="dim")
        body.append(f"  {move.reason}\n")
    if not moves:
        body.append("none yet", style="dim")
    title = "[b]last moves, and why"
    return Panel(body, title=title, subtitle=beneath or None, border_style="grey50")


def link_line(link: Link) -> Text:
    """One line about the link's quality."""
    line = Text(" link  ", style="bold")
    line.append(
        f"{link.fresh}/{link.known} homes fresh",
        style="green" if link.fresh == link.known else "yellow",
    )
    if link.age_p95_s is not None:
        line.append(f" · 95 % read within {link.age_p95_s:.1f} s")
    if link.frames_per_s is not None:
        line.append(f" · {link.frames_per_s:.0f} frames/s")
    if link.frames_ok:
        lost = f" · {link.frames_lost} lost"
        line.append(lost, style="" if link.frames_lost == 0 else "yellow")
    else:
        line.append(" · starting", style="yellow")
    if link.frames_refused:
        line.append(f" · {link.frames_refused} refused", style="red")
    if link.group_key:
        line.append(f" · {link.group_key}", style="red" if link.group_key_alarm else "yellow")
    if link.channel:
        line.append(f" · {link.channel}", style="red" if link.channel_alarm else "yellow")
    return line


def clock(picture: Picture) -> str:
    """The time of the title: elapsed, and what remains where there is an end."""
    text = f"{picture.elapsed_s // 60:02.0f}:{picture.elapsed_s % 60:02.0f}"
    if picture.remaining_s is not None:
        text += f", {max(picture.remaining_s, 0):.0f} s left"
    return text


def save_svg(picture: Picture, path: Path, width: int = 104, height: int = 26) -> None:
    """Writes the screen as a picture for a document."""
    console = Console(
        file=io.StringIO(), record=True, width=width, height=height, force_terminal=True
    )
    console.print(render(picture, width, height), height=height)
    svg = console.export_svg(title="pbal sim run")
    # A document fetches nothing from elsewhere: the reader's own monospaced font is used.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    path.write_text(svg, encoding="utf-8")


def render(picture: Picture, width: int, height: int) -> Layout:
    """The whole screen, `width` x `height` characters; made for 80 x 24 and up."""
    layout = Layout()
    top = Panel(
        Text(sentence(picture), style="bold"),
        title=f"[b]{picture.title}[/b] · {clock(picture)}",
        border_style="cyan",
    )
    half = width // 2
    middle = 9 if height < 34 else 11
    bottom = 3 if picture.url else 2
    rest = max(height - 4 - middle - bottom, 6)
    if picture.radios_only and rows_for(len(picture.radios), width, rest) > rest:
        rest, middle = rest + middle, 0  # the homes that are asked for, rather than the phases
    layout.split_column(
        Layout(top, name="top", size=4),
        Layout(name="middle", size=middle, visible=middle > 0),
        Layout(name="rest", size=rest),
        Layout(name="bottom", size=bottom),
    )
    layout["middle"].split_row(
        Layout(phases_panel(picture, half), size=half),
        Layout(neutral_panel(picture, width - half, middle)),
    )
    if picture.radios_only:
        layout["rest"].update(radio_panel(picture.radios, width, rest, ALL_RADIOS_PRINTED))
    else:
        fill_rest(layout["rest"], picture, width, rest)
    link = link_line(picture.link)
    link.truncate(width, overflow="ellipsis")
    footer = Text(f" {picture.footer}", style="dim")
    footer.truncate(width, overflow="ellipsis")
    lines = [link, footer]
    if picture.url:  # a line of its own: it is to be copied
        lines.insert(1, Text(f" page {picture.url}  ·  pbal monitor --url {picture.url}"))
    layout["bottom"].update(Group(*lines))
    return layout


def fill_rest(rest: Layout, picture: Picture, width: int, rows: int) -> None:
    """Homes beside the last moves, and below them, where there is room, how radios hear them."""
    grid_width = homes_width(picture, width)
    heard = radio_rows(picture, width, rows)
    upper = rows - heard
    unseen = picture.radios and not heard
    beside = Layout(name="beside", size=upper)
    beside.split_row(
        Layout(homes_panel(picture, grid_width, upper), size=grid_width),
        Layout(moves_panel(picture.moves, upper - 2, f"radio: {ALL_RADIOS}" if unseen else "")),
    )
    if not heard:
        rest.split_column(beside)
        return
    radio = radio_panel(picture.radios, width, heard, ALL_RADIOS)
    rest.split_column(beside, Layout(radio, size=heard))


def homes_width(picture: Picture, width: int) -> int:
    """Of the panel of homes, beside which the moves stand."""
    return width * 9 // 20 if len(picture.homes) <= 24 else width * 3 // 5


def radio_rows(picture: Picture, width: int, rows: int) -> int:
    """Of `rows`, how many go to the panel of radios: as many as show all homes, else what homes
    in the narrowest cells and moves leave; 0 where that is too little.
    """
    if not picture.radios:
        return 0
    widths = cell_widths(picture)
    for cell in (widths[0], widths[-1]):
        grid = homes_rows(picture, homes_width(picture, width), cell)
        room = rows - max(grid, MOVES_ROWS)
        needed = rows_for(len(picture.radios), width, room)
        if needed <= room:
            return needed
    return room if room >= FRAME_ROWS + RADIOS_AT_LEAST else 0


def whole_height(picture: Picture, width: int) -> int:
    """The height of a screen that shows every home, for one that is printed."""
    radios = rows_for(len(picture.radios), width, 0) if picture.radios else 0
    grid = homes_rows(picture, homes_width(picture, width), cell_widths(picture)[0])
    rest = radios if picture.radios_only else max(grid, PRINTED_MOVES_ROWS) + radios
    return max(4 + 11 + rest + 3, PRINTED_HEIGHT)
