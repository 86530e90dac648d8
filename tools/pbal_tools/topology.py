"""Who speaks to whom in a scenario, over what: as links, as lines of text, and as a picture.

All three follow from the `Scenario` that starts the street. In the picture a radio reaches a home
from above and wires reach it from below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from pbal_host import counted
from pbal_sim.placing import Spot
from pbal_sim.streetconfig import RadioSite

from .streetoptions import Scenario

RS485, LORA, WIFI = "RS-485", "LoRa", "Wi-Fi"
CONTROLLER = -1

# Told apart by the kind of line, too, not by colour alone.
_LINES = {
    RS485: ("#333333", ""),
    LORA: ("#1f4e9c", "7 4"),
    WIFI: ("#1b7837", "2 4"),
}
_PER_ROW = 12  # homes
_HOME_W, _HOME_H, _ROOF_H, _STEP = 40, 30, 14, 58  # pixels, as all below
_LEFT, _HEAD, _MARGIN = 250, 66, 24  # where homes begin, the title above them, the rim
_CONTROLLER_W = 122
_RADIO_H, _WIRE_H, _GAP = 74, 34, 22  # above a row that a radio reaches, below one with wires


@dataclass(frozen=True)
class Link:
    """Over what a home (0...) is reached, and from where: the controller or a bridge."""

    over: str
    at: int
    home: int


@dataclass(frozen=True)
class _Row:
    """Homes that are drawn beside each other, in the same way reached."""

    homes: tuple[int, ...]
    from_controller: tuple[str, ...]
    bridge: int | None = None

    @property
    def over(self) -> tuple[str, ...]:
        """What reaches it at all."""
        return self.from_controller if self.bridge is None else (*self.from_controller, RS485)

    @property
    def above(self) -> int:
        """Room for its radio's lines: those to a bridge come from its side."""
        return _RADIO_H if self.bridge is None and set(self.over) - {RS485} else _GAP

    @property
    def height(self) -> int:
        return self.above + _ROOF_H + _HOME_H + (_WIRE_H if RS485 in self.over else 0)


def links(scenario: Scenario, homes: int) -> list[Link]:
    """Every link of a street of so many homes, by home."""
    wifi, line = scenario.on_wifi(homes), scenario.on_line(homes)
    bridge_of = {i: b[0] for b in scenario.buildings(homes) for i in b[1:]}
    found = []
    for i in range(homes):
        if i in wifi:
            found.append(Link(WIFI, CONTROLLER, i))
        elif i in line:
            found.append(Link(RS485, CONTROLLER, i))
        elif i in bridge_of:
            found.append(Link(RS485, bridge_of[i], i))
        else:
            found += [Link(_kind_of(path, scenario), CONTROLLER, i) for path in scenario.paths]
    return found


def _kind_of(path: str, scenario: Scenario) -> str:
    """What a bearer named in the scenario's `paths` is."""
    if path in scenario.options.get("radio", {}):
        return LORA
    return WIFI if path == "wifi" else RS485


def told(scenario: Scenario, homes: int) -> list[str]:
    """The links as lines of text."""
    found = links(scenario, homes)
    bridges = sorted({link.at for link in found} - {CONTROLLER})
    lines = []
    for bridge in bridges:
        wired = ", ".join(f"{link.home + 1:02d}" for link in found if link.at == bridge)
        lines.append(f"controller ~LoRa~ home {bridge + 1:02d}, a bridge -RS-485- homes {wired}")
    direct = [x for x in found if x.at == CONTROLLER and x.home not in bridges]
    for over, sign in ((RS485, "-"), (WIFI, "~"), (LORA, "~")):
        count = sum(link.over == over for link in direct)
        if count:
            lines.append(f"controller {sign}{over}{sign} {counted(count, 'home')}")
    return lines


def radios(scenario: Scenario, homes: int) -> list[int]:
    """The homes (0...) that have a radio."""
    return sorted({link.home for link in links(scenario, homes) if link.over == LORA})


def placed_lines(site: RadioSite, spots: list[Spot]) -> list[str]:
    """Where homes with a radio stand, as lines of text: the weakest link, and who was moved."""
    if not spots:
        return []
    weakest = min(spots, key=lambda spot: spot.spare_db)
    name, spare_db = _name(weakest.home), weakest.spare_db
    return [
        f"LoRa at SF{site.sf}: the weakest link is home {name}'s, {spare_db:.1f} dB to spare "
        f"({weakest.rssi_dbm:.0f} dBm, {weakest.distance_m:.0f} m)",
        *(
            f"home {_name(spot.home)} stands at {spot.distance_m:.0f} m: {spot.road_m:.0f} m along "
            f"the road its link would be {spot.short_db:.1f} dB short of that"
            for spot in spots
            if spot.short_db
        ),
    ]


def svg(name: str, scenario: Scenario, homes: int) -> str:
    """The links as a picture. Each of them is one element with `data-over`, `-from` and `-to`."""
    found = links(scenario, homes)
    rows = _rows(found)
    wide = max(len(row.homes) for row in rows)
    # As wide as the line of words at its foot, too.
    width = max(_LEFT + wide * _STEP + _MARGIN, 640)
    tops, y = [], _HEAD
    for row in rows:
        tops.append(y + row.above)
        y += row.height + _GAP
    bottom, height = y, y + 52
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">',
        f"<title>{escape(name)}: {escape('; '.join(told(scenario, homes)))}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(_MARGIN, 36, f"{name}: {counted(homes, 'home')}", size=20, bold=True),
        f'<rect x="{_MARGIN}" y="{_HEAD}" width="{_CONTROLLER_W}" height="{bottom - _HEAD}" '
        'rx="8" fill="#f2f4f7" stroke="#333333" stroke-width="1.5"/>',
        _text(_MARGIN + 14, _HEAD + 26, "controller", size=15, bold=True),
        _text(_MARGIN + 14, _HEAD + 44, "at the transformer", size=10),
    ]
    masts: dict[str, int] = {}
    for row, top in zip(rows, tops, strict=True):
        for over in row.from_controller:
            if over != RS485:
                masts.setdefault(over, top - row.above + 12 if row.bridge is None else top + 20)
    drawn = [_links_of(row, top, masts) for row, top in zip(rows, tops, strict=True)]
    out += [line for lines in drawn for line in lines]
    for over, mast_y in masts.items():
        out += _mast(over, mast_y)
    for row, top in zip(rows, tops, strict=True):
        for place, home in enumerate(row.homes):
            out += _home(home, place, top, home == row.bridge)
    out += _legend(found, bottom + 30)
    return "\n".join([*out, "</svg>", ""])


def _rows(found: list[Link]) -> list[_Row]:
    """Homes by how they are reached; each building one row, its bridge first."""
    ways: dict[int, list[Link]] = {}
    for link in found:
        ways.setdefault(link.home, []).append(link)
    behind: dict[int, list[int]] = {}
    for link in found:
        if link.at != CONTROLLER:
            behind.setdefault(link.at, []).append(link.home)
    alike: dict[tuple[str, ...], list[int]] = {}
    for home, its in ways.items():
        if home not in behind and all(link.at == CONTROLLER for link in its):
            alike.setdefault(tuple(link.over for link in its), []).append(home)
    rows = [
        _Row(tuple(homes[i : i + _PER_ROW]), over)
        for over, homes in alike.items()
        for i in range(0, len(homes), _PER_ROW)
    ]
    for bridge, homes in behind.items():
        rows.append(_Row((bridge, *homes), tuple(x.over for x in ways[bridge]), bridge))
    return rows


def _x(place: int) -> int:
    """The middle of a home in its row."""
    return _LEFT + place * _STEP + _STEP // 2


def _links_of(row: _Row, top: int, masts: dict[str, int]) -> Iterator[str]:
    """The lines of one row, which begins at the tip of its roofs."""
    edge, floor = _MARGIN + _CONTROLLER_W, top + _ROOF_H + _HOME_H
    bus = floor + 16
    for over in row.from_controller:
        for place, home in enumerate(row.homes):
            x = _x(place)
            if home != row.bridge and row.bridge is not None:
                continue  # reached by its bridge
            if over == RS485:
                yield _link(over, CONTROLLER, home, f"M {edge} {bus} H {x} V {floor}")
            elif row.bridge is not None:
                end = f"{x - _HOME_W // 2} {top + _ROOF_H + 12}"
                yield _link(over, CONTROLLER, home, f"M {edge + 18} {masts[over]} L {end}")
            else:
                yield _link(over, CONTROLLER, home, f"M {edge + 18} {masts[over]} L {x} {top}")
    if row.bridge is not None:
        left, right = _x(0) - _STEP // 2 + 2, _x(len(row.homes) - 1) + _STEP // 2 - 2
        yield (
            f'<rect x="{left}" y="{top - 10}" width="{right - left}" height="{bus - top + 22}" '
            'rx="6" fill="none" stroke="#999999"/>'
        )
        for place, home in enumerate(row.homes[1:], 1):
            way = f"M {_x(0)} {floor} V {bus} H {_x(place)} V {floor}"
            yield _link(RS485, row.bridge, home, way)


def _link(over: str, at: int, home: int, way: str) -> str:
    colour, dashes = _LINES[over]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<path data-over="{over}" data-from="{_name(at)}" data-to="{_name(home)}" d="{way}" '
        f'fill="none" stroke="{colour}" stroke-width="1.5"{dashed}/>'
    )


def _mast(over: str, y: int) -> Iterator[str]:
    """The controller's antenna."""
    colour, _ = _LINES[over]
    edge = _MARGIN + _CONTROLLER_W
    yield f'<path d="M {edge} {y + 14} H {edge + 18} V {y}" fill="none" stroke="{colour}"/>'
    yield f'<circle cx="{edge + 18}" cy="{y}" r="4" fill="{colour}"/>'
    yield _text(edge + 8, y + 28, over, size=11, colour=colour)


def _home(home: int, place: int, top: int, bridge: bool) -> Iterator[str]:
    left, eaves = _x(place) - _HOME_W // 2, top + _ROOF_H
    fill = "#ffe8b8" if bridge else "#fbfaf5"
    role = ' data-role="bridge"' if bridge else ""
    yield (
        f'<path data-home="{_name(home)}"{role} d="M {left} {eaves} L {_x(place)} {top} '
        f'L {left + _HOME_W} {eaves} V {eaves + _HOME_H} H {left} Z" '
        f'fill="{fill}" stroke="#333333"/>'
    )
    low = eaves + (14 if bridge else 20)
    yield _text(_x(place), low, _name(home), size=13, anchor="middle", bold=True)
    if bridge:
        yield _text(_x(place), eaves + 26, "bridge", size=10, anchor="middle")


def _legend(found: list[Link], y: int) -> Iterator[str]:
    """What the kinds of line mean, and how many links there are of each."""
    x = _MARGIN
    for over, (colour, dashes) in _LINES.items():
        count = sum(link.over == over for link in found)
        if count:
            dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
            yield (
                f'<line x1="{x}" y1="{y - 4}" x2="{x + 36}" y2="{y - 4}" stroke="{colour}" '
                f'stroke-width="2"{dashed}/>'
            )
            yield _text(x + 44, y, f"{over}: {counted(count, 'home')}", size=12)
            x += 190


def _name(home: int) -> str:
    return "controller" if home == CONTROLLER else f"{home + 1:02d}"


def _text(
    x: int, y: int, words: str, size: int, anchor: str = "start", colour: str = "#111111",
    bold: bool = False,
) -> str:  # fmt: skip
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>'
        f"{escape(words)}</text>"
    )
