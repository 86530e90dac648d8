"""The messages between a transformer and HQ, declared once.

A message that is released keeps its id and its fields, their order, size, unit and meaning for
ever; new information is a new message. Times are unix seconds. Home addresses are numbers; data
about residents stays at the site.
"""

from __future__ import annotations

from typing import ClassVar

from pbal_uplink import names
from pbal_uplink.declare import Compact, Message, message, number, octets, text

_U8, _U16, _U32, _I32 = 0xFF, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF


def _site() -> int:
    value: int = number("I", "The site's number, as in its configuration.", high=_U32)
    return value


def _current(what: str) -> float:
    value: float = number("H", what, unit="A", divisor=10, high=6000, compact=Compact(11))
    return value


def _voltage(what: str) -> float | None:
    value: float | None = number(
        "H", what, unit="V", divisor=100, high=600, optional=True,
        compact=Compact(8, 0.75, 130.0),
    )  # fmt: skip
    return value


def _energy(what: str, compact: Compact) -> float:
    value: float = number("H", what, unit="kWh", divisor=100, high=655, compact=compact)
    return value


def _percent(code: str, divisor: int, high: int, what: str, compact: Compact) -> float | None:
    value: float | None = number(
        code, what, unit="%", divisor=divisor, high=high, optional=True, compact=compact
    )
    return value


def _homes(what: str) -> int:
    value: int = number("H", what, high=_U16, compact=Compact(9))
    return value


def _switchings(what: str) -> int:
    value: int = number("B", what, high=_U8, compact=Compact(4))
    return value


@message
class Summary(Message):
    """One window of a transformer, five minutes by default.

    Currents are those of the transformer's own meter where it has one, else the sums of the homes
    as last read; the neutral's is a phasor sum. Means and largest values are over one sample a
    second.
    """

    ID: ClassVar[int] = 1

    site: int = _site()
    start_s: int = number(
        "I", "Where the window begins.", unit="s", high=_U32, compact=Compact(26, 60.0)
    )
    length_s: int = number(
        "H", "How long it is.", unit="s", low=1, high=3600, compact=Compact(6, 60.0)
    )
    ia_mean_a: float = _current("Mean current of phase A.")
    ib_mean_a: float = _current("Mean current of phase B.")
    ic_mean_a: float = _current("Mean current of phase C.")
    in_mean_a: float = _current("Mean current of the neutral.")
    ia_max_a: float = _current("Largest current of phase A.")
    ib_max_a: float = _current("Largest current of phase B.")
    ic_max_a: float = _current("Largest current of phase C.")
    in_max_a: float = _current("Largest current of the neutral.")
    va_min_v: float | None = _voltage("Lowest voltage of phase A at any home.")
    vb_min_v: float | None = _voltage("Lowest voltage of phase B at any home.")
    vc_min_v: float | None = _voltage("Lowest voltage of phase C at any home.")
    va_mean_v: float | None = _voltage("Mean voltage of phase A over homes and time.")
    vb_mean_v: float | None = _voltage("Mean voltage of phase B over homes and time.")
    vc_mean_v: float | None = _voltage("Mean voltage of phase C over homes and time.")
    va_max_v: float | None = _voltage("Highest voltage of phase A at any home.")
    vb_max_v: float | None = _voltage("Highest voltage of phase B at any home.")
    vc_max_v: float | None = _voltage("Highest voltage of phase C at any home.")
    vuf_percent: float | None = _percent(
        "H", 100, 100,
        "Voltage unbalance V2/V1 (IEC 61000-4-30), where the angles of the voltages are known.",
        Compact(7, 0.1),
    )  # fmt: skip
    pvur_percent: float | None = _percent(
        "H", 100, 100,
        "Phase voltage unbalance rate (IEEE 141): the largest deviation of a phase's mean voltage "
        "from the mean of the three, as a share of that mean.",
        Compact(7, 0.1),
    )  # fmt: skip
    ea_import_kwh: float = _energy("Energy to homes of phase A.", Compact(12, 0.2))
    eb_import_kwh: float = _energy("Energy to homes of phase B.", Compact(12, 0.2))
    ec_import_kwh: float = _energy("Energy to homes of phase C.", Compact(12, 0.2))
    ea_export_kwh: float = _energy("Energy from homes of phase A.", Compact(10, 0.5))
    eb_export_kwh: float = _energy("Energy from homes of phase B.", Compact(10, 0.5))
    ec_export_kwh: float = _energy("Energy from homes of phase C.", Compact(10, 0.5))
    load_mean_percent: float | None = _percent(
        "H", 10, 1000, "Mean apparent power, of the rated power.", Compact(7, 2.0)
    )
    load_max_percent: float | None = _percent(
        "H", 10, 1000, "Largest current of a phase, of the rated current.", Compact(7, 2.0)
    )
    hotspot_c: float | None = number(
        "h", "Temperature of the winding's hottest spot at the window's end, estimated by the "
        "differential equations of IEC 60076-7 from the worst phase's load.",
        unit="degC", divisor=10, low=-50, high=400, optional=True, compact=Compact(7, 2.0, -40.0),
    )  # fmt: skip
    losses_avoided_wh: int | None = number(
        "i", "Energy that was not lost in transformer and main line, thanks to the homes' phases; "
        "negative where the phases cost some.",
        unit="Wh", low=-1_000_000, high=1_000_000, optional=True,
        compact=Compact(11, 10.0, -10_230.0),
    )  # fmt: skip
    losses_method: int = number(
        "B", "How losses_avoided_wh was computed.", high=1, names=names.LOSSES, compact=Compact(2)
    )
    homes: int = _homes("Homes that are configured.")
    homes_alive: int = _homes("Homes that answer, at the window's end.")
    homes_fresh: int = _homes("Homes whose reading is fresh, at the window's end.")
    homes_quarantined: int = _homes("Homes in quarantine, at the window's end.")
    rs485_percent: float | None = _percent(
        "B", 2, 100, "Polls over RS-485 that were answered.", Compact(6, 2.0)
    )
    lora_percent: float | None = _percent(
        "B", 2, 100, "Frames over LoRa that came, of those expected.", Compact(6, 2.0)
    )
    udp_percent: float | None = _percent(
        "B", 2, 100, "Requests over IP that were answered.", Compact(6, 2.0)
    )
    confirmed: int = _switchings("Switchings that were confirmed by measurement.")
    refused: int = _switchings("Switchings that a node refused.")
    failed: int = _switchings("Switchings that failed.")
    expired: int = _switchings("Switchings that expired.")
    disagreed: int = _switchings("Switchings that the measurement contradicts.")
    autonomous: int = _switchings("Transfers that nodes made by themselves.")
    complete_percent: int = number(
        "B", "Seconds of the window with a sample, of all.", unit="%", high=100,
        compact=Compact(5, 4.0),
    )  # fmt: skip
    mode: int = number(
        "B", "The planner's mode at the window's end.", high=3, names=names.MODES,
        compact=Compact(2),
    )  # fmt: skip


@message
class Event(Message):
    """An alarm, a switching, or an answer to a command: sent at once, never thinned out."""

    ID: ClassVar[int] = 2

    site: int = _site()
    event_id: int = number(
        "Q", "The same for the same event, however often it comes: a hash of what it is about.",
        high=_U64,
    )  # fmt: skip
    at_s: int = number("I", "When it happened, by the site's clock.", unit="s", high=_U32)
    kind: int = number("B", "What it is about.", low=1, high=11, names=names.KINDS)
    severity: int = number("B", "How bad it is.", high=2, names=names.SEVERITIES)
    address: int = number("H", "The home; 0 for the whole site.", high=_U16)
    code: int = number("B", "Of a node's event: its code on the wire (docs/wire.md).", high=_U8)
    outcome: int = number(
        "B", "Of a switching or an answer: how it ended.", high=6, names=names.OUTCOMES
    )
    from_phase: int = number("B", "Of a switching.", high=3, names=names.PHASES)
    to_phase: int = number("B", "Of a switching.", high=3, names=names.PHASES)
    command_id: int = number(
        "Q", "Of a switching: the node command's id. Of an answer: the id of HQ's command.",
        high=_U64,
    )  # fmt: skip
    arg0: int = number("i", "Of a node's event: as on the wire.", low=-_I32, high=_I32)
    arg1: int = number("i", "Of a node's event: as on the wire.", low=-_I32, high=_I32)
    detail: str = text(200, "For a person.")


@message
class State(Message):
    """What a controller is and how it is: with every birth, and when it changes."""

    ID: ClassVar[int] = 3

    site: int = _site()
    at_s: int = number("I", "When this was so.", unit="s", high=_U32)
    version: int = number(
        "I", "The controller's version: major << 16 | minor << 8 | patch.", high=0xFFFFFF
    )
    words: int = number("B", "The version of these messages.", low=1, high=_U8)
    config_hash: bytes = octets(8, "SHA-256 of the configuration, its first 8 bytes.")
    capabilities: int = number("I", "Bits; see below.", high=_U32)
    mode: int = number("B", "The planner's mode.", high=3, names=names.MODES)
    homes: int = number("H", "Homes that are configured.", high=_U16)
    rated_kva: float | None = number(
        "I", "The transformer's rated power.", unit="kVA", divisor=10, high=100_000, optional=True
    )
    phase_limit_a: float | None = number(
        "H", "The phase current above which the planner decides at once.", unit="A", divisor=10,
        high=6000, optional=True,
    )  # fmt: skip
    max_moving_percent: int = number(
        "B", "The most homes that may move at once.", unit="%", high=100
    )
    window_s: int = number("H", "How long a window is.", unit="s", low=1, high=3600)
    uptime_s: int = number("I", "Since the controller started.", unit="s", high=_U32)
    backlog: int = number("I", "Messages that HQ has not acknowledged.", high=_U32)
    thinned: int = number("I", "Summaries thinned out of a full outbox, ever.", high=_U32)
    name: str = text(64, "The site's name.")


@message
class Command(Message):
    """What HQ asks of a controller. It travels sealed with HQ's signature (`sealed`)."""

    ID: ClassVar[int] = 4

    site: int = _site()
    command_id: int = number("Q", "Never used twice; carried out once.", low=1, high=_U64)
    issued_s: int = number("I", "When it was ordered.", unit="s", high=_U32)
    expires_s: int = number("I", "From when on it is no longer carried out.", unit="s", high=_U32)
    kind: int = number("B", "What is asked.", low=1, high=5, names=names.COMMANDS)
    mode: int | None = number(
        "B", "Of kind mode: run, dry-run or hold.", high=2, optional=True, names=names.MODES
    )
    phase_limit_a: float | None = number(
        "H", "Of kind limits: a phase limit below the configured one.", unit="A", divisor=10,
        low=1, high=6000, optional=True,
    )  # fmt: skip
    max_moving_percent: int | None = number(
        "B", "Of kind limits: a share of moving homes below the configured one.", unit="%", low=1,
        high=100, optional=True,
    )  # fmt: skip
    release: bytes | None = octets(
        8, "Of kind rollout: the first 8 bytes of the release's digest.", optional=True
    )
    detail: str = text(120, "Who asks, and why: for the site's journal.")


MESSAGES: dict[int, type[Message]] = {cls.ID: cls for cls in (Summary, Event, State, Command)}
