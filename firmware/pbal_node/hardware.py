"""Builds the parts that measure and switch: sensors, meter, selector, autonomy, settings.

The second half of build.py; needed once per boot, so the application unloads it afterwards.
"""

import struct
import time

import machine
from micropython import const

from pbal_node import board as boards
from pbal_node.autonomy import Autonomy
from pbal_node.autonomy import Settings as Autonomous
from pbal_node.clock import randrange
from pbal_node.journal import SelectorState
from pbal_node.measuring import Measuring, Rhythm
from pbal_node.metering.sense import Sense
from pbal_node.selector import Limits, Selector, Timing
from pbal_node.settings import Settings
from pbal_node.store import Config, Slot
from pbal_node.supply import Supply
from pbal_protocol import config as settings

_EV_METER_FAULT = const(6)
_ALARM = const(2)


def fit(app, board: dict, identity: dict) -> None:
    """Give `app` its sensors, its meter, and the parts that move the contacts."""
    hz = board.get("mains", {}).get("nominal_hz", 50.0)
    app.sense = _sense(app, board, hz)
    app.meter = _meter(app, board, hz)
    app.measuring = Measuring(app.now_ms)
    _selector(app, board, identity)
    _measuring(app)
    app.settings = _settings(app, board, identity)
    led = board.get("led")
    if led:
        app.led = machine.Pin(led["pin"], machine.Pin.OUT, value=0)
    button = board.get("button")
    if button:
        app.button = machine.Pin(button["pin"], machine.Pin.IN, machine.Pin.PULL_UP)


def _adc(board: dict, name: str):
    return boards.part("adc " + name, lambda: boards.adc(board, name), "NoAdc")


def _sense(app, board: dict, hz: float) -> Sense:
    table = board["sense"]
    return Sense(
        [_adc(board, n) for n in ("vout", "va", "vb", "vc")],
        boards.per_channel(board, "volts_per_volt", 400.0),
        int(table["bias_v"] * 1000000),
        board.get("mains", {}).get("nominal_v", 230.0),
        hz,
        app.now_ms,
        time.ticks_us,
        time.ticks_diff,
        time.sleep_us,
    )


def _meter(app, board: dict, hz: float):
    """The board's meter; the other driver is not loaded."""
    table = board.get("meter", {})
    if table.get("kind", "pzem") == "pzem":
        from pbal_node.metering.pzem import Pzem

        uart = boards.part("meter's port", lambda: boards.uart_meter(board), "NoPort")
        if "meter's port" in boards.missing:
            app.log.emit(_EV_METER_FAULT, _ALARM, 0, 0)  # a dead output cannot explain its silence
        return Pzem(uart, app.now_ms, table.get("unit", 1))
    from pbal_node.metering.adc import AdcMeter, Calibration, Energy

    sense = board["sense"]
    return AdcMeter(
        app.sense.channels[0].read_uv,
        _adc(board, "ct").read_uv,
        boards.per_channel(board, "volts_per_volt", 400.0)[0],
        sense["amps_per_volt"],
        int(sense["bias_v"] * 1000000),
        hz,
        Calibration(Slot("/cfg/calibration", app.stats)),
        Energy(Slot("/cfg/energy", app.stats), app.now_ms()),
        app.now_ms,
        time.ticks_us,
        time.ticks_diff,
        time.sleep_us,
    )


def _measuring(app) -> None:
    m = app.measuring
    m.sense = app.sense
    m.meter = app.meter
    m.supply = app.supply
    m.selector = app.selector
    m.limits = app.limits
    m.state_store = app.state_store
    m.log = app.log
    m.faults = app.faults
    m.rhythm = Rhythm()


def _selector(app, board: dict, identity: dict) -> None:
    app.supply = Supply(207.0, 253.0)
    app.state_store = SelectorState("/cfg/selector", app.stats)
    app.timing = Timing(board["selector"])
    app.limits = Limits()
    app.limits.nominal_v = board.get("mains", {}).get("nominal_v", 230.0)
    app.limits.safe_mode = app.safe_mode
    app.selector = Selector(
        app.timing,
        app.limits,
        app.state_store,
        app.drive,
        app.sense,
        app.supply,
        app.measuring.current,
        app.clock.now_s,
        app.log.emit,
    )
    app.selector.latest_s = app.clock.latest_s
    app.selector.at_zero = app.measuring.at_zero
    app.selector.aux = boards.aux(board)
    app.selector.meter = app.meter
    app.release_slot = Slot("/cfg/release", app.stats)
    raw = app.release_slot.load()
    if raw is not None and len(raw) == 2:
        app.selector.contacts.keep_release(struct.unpack("<H", raw)[0] / 10)
    app.release_kept_ms = app.selector.contacts.release_ms
    app.autonomy = Autonomy(
        app.selector,
        app.supply,
        Autonomous(),
        app.limits,
        app.state_store,
        identity.get("phase", 0),
        randrange,
        machine.reset_cause() == machine.PWRON_RESET,
        app.log.emit,
        app.silent_ms,
        app.measuring.load,
    )


def _settings(app, board: dict, identity: dict) -> Settings:
    s = Settings()
    s.marked = []
    s.config = _config(app, board, identity, s.marked)
    s.stats = app.stats
    s.limits = app.limits
    s.supply = app.supply
    s.timing = app.timing
    s.autonomous = app.autonomy.settings
    s.sense = app.sense
    s.meter = app.meter
    s.board_rated_a = board.get("limits", {}).get("rated_switch_a", 1000.0)
    s.board_dead_ms = board["selector"].get("dead_time_ms", 100)
    return s


def _config(app, table: dict, identity: dict, marked: list) -> Config:
    defaults = {row[0]: row[5] for row in settings.KEYS}
    board = {}
    names = {row[1]: row[0] for row in settings.KEYS}
    for name, value in table.get("config", {}).items():
        if name in names:
            board[names[name]] = value
    for name in ("fixed", "opted_out"):
        if name in identity:
            board[names[name]] = 1 if identity[name] else 0
            if identity[name]:
                marked.append(names[name])
    from pbal_node.applying import legal

    def allowed(key, value):
        return legal(key, value, marked)

    return Config("/cfg/config", app.stats, defaults, board, allowed)
