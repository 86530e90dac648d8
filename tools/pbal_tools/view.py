"""Draws a Picture with rich: what the live screens of `pbal sim run` and `pbal monitor` show."""

import io
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
    RadioLine,
    phase_letter,
    sentence,
)

# The phase colours of many countries' wiring: red, yellow, blue.
COLOURS = {0: "grey50", 1: "red", 2: "yellow", 3: "dodger_blue1"}
EIGHTHS = " ▁▂▃▄▅▆▇█"
CELL_WIDTH = 9
CELL_GAP = 1
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
    """One home: its name and power on its phase's colour."""
    colour = COLOURS[home.phase]
    label = short_name(home.name)
    if home.age_s is None:
        return Text(f"{label} ...".ljust(width)[:width], style="dim")
    power = "" if home.power_w is None else kilowatts(home.power_w)
    mark = "⇄" if home.moving else "!" if home.trouble else "=" if home.fixed else " "
    text = f"{label}{mark}{power:>{max(width - len(label) - 1, 0)}}"[:width]
    style = f"#000000 on {colour}"
    if home.moving:
        style = f"bold blink #ffffff on {colour}"
    elif home.trouble:
        style = "#ffffff on grey30"
    return Text(text, style=style)


def short_name(name: str) -> str:
    """A home's name in at most six characters: the part that all names share is left out."""
    for prefix in ("home_", "home-", "home "):
        name = name.removeprefix(prefix)
    return name[-6:]


def kilowatts(power_w: float) -> str:
    """Watts in few characters: 85W, 1.2k, -3.0k."""
    return f"{power_w:.0f}W" if abs(power_w) < 950 else f"{power_w / 1000:.1f}k"


def homes_panel(picture: Picture, width: int) -> Panel:
    """The grid of homes, coloured by phase."""
    per_row = max((width - 4 + CELL_GAP) // (CELL_WIDTH + CELL_GAP), 1)
    grid = Table.grid(padding=(0, CELL_GAP, 0, 0))
    cells = [home_cell(home) for home in picture.homes]
    for start in range(0, len(cells), per_row):
        grid.add_row(*cells[start : start + per_row])
    legend = Text()
    for phase in (1, 2, 3):
        legend.append(" ■ ", style=COLOURS[phase])
        legend.append(PHASES[phase - 1])
    legend.append("   ⇄ moving  ! look  = fixed", style="dim")
    return Panel(Group(grid, legend), title="[b]homes", border_style="grey50")


def moves_panel(moves: Sequence[MoveLine], rows: int) -> Panel:
    """The last moves and their reasons, newest first; as many as surely fit into `rows` lines."""
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
    return Panel(body, title="[b]last moves, and why", border_style="grey50")


def radio_panel(radios: Sequence[RadioLine], rows: int) -> Panel:
    """How each home is heard, the worst first; as many as fit into `rows` lines."""
    table = Table.grid(padding=(0, 1))
    head = ("home", "path", "SF", "RSSI", "SNR", "spare", "air")
    table.add_row(*(Text(word, style="dim") for word in head))
    room = max(rows - 3, 1)
    left_out = len(radios) - room
    for line in radios[: room - 1 if left_out > 0 else room]:
        spare = line.spare_db
        style = "yellow" if spare is None or spare < 5 else ""
        table.add_row(
            short_name(line.home),
            line.path or Text("silent", style="red"),
            str(line.sf or "-"),
            f"{line.rssi_dbm:.0f} dBm",
            f"{line.snr_db:.1f} dB",
            Text("-" if spare is None else f"{spare:.0f} dB", style=style),
            f"{line.airtime_share:.2%}",
        )
    if left_out > 0:
        table.add_row(Text(f"+{left_out + 1}", style="dim"))
    return Panel(table, title="[b]radio, the worst heard first", border_style="grey50")


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
    line.append(f" · {link.frames_lost} lost", style="" if link.frames_lost == 0 else "yellow")
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
    grid_width = width * 9 // 20 if len(picture.homes) <= 24 else width * 3 // 5
    bottom = 3 if picture.url else 2
    rest = max(height - 4 - middle - bottom, 6)
    layout.split_column(
        Layout(top, name="top", size=4),
        Layout(name="middle", size=middle),
        Layout(name="rest", size=rest),
        Layout(name="bottom", size=bottom),
    )
    layout["middle"].split_row(
        Layout(phases_panel(picture, half), size=half),
        Layout(neutral_panel(picture, width - half, middle)),
    )
    if picture.radios_only:
        layout["rest"].update(radio_panel(picture.radios, rest))
    else:
        layout["rest"].split_row(
            Layout(homes_panel(picture, grid_width), size=grid_width),
            Layout(name="told"),
        )
        heard = min(len(picture.radios) + 3, rest // 2) if picture.radios and rest >= 12 else 0
        moves = Layout(moves_panel(picture.moves, rest - heard - 2))
        if heard:
            radio = Layout(radio_panel(picture.radios, heard), size=heard)
            layout["told"].split_column(moves, radio)
        else:
            layout["told"].update(moves.renderable)
    link = link_line(picture.link)
    link.truncate(width, overflow="ellipsis")
    footer = Text(f" {picture.footer}", style="dim")
    footer.truncate(width, overflow="ellipsis")
    lines = [link, footer]
    if picture.url:  # a line of its own: it is to be copied
        lines.insert(1, Text(f" page {picture.url}  ·  pbal monitor --url {picture.url}"))
    layout["bottom"].update(Group(*lines))
    return layout
