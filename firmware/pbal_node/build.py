"""Puts a node together from the board file, the identity and what flash remembers.

Needed once a boot, so the application throws it away afterwards.
"""

import json
import os
import struct
import sys
import time
from binascii import unhexlify

import machine
from micropython import const

from pbal_node import board as boards
from pbal_node.app import legal_beside, random_u32, randrange
from pbal_node.autonomy import Autonomy, Settings
from pbal_node.clock import Monotonic, SiteClock
from pbal_node.events import EventLog
from pbal_node.faults import Faults
from pbal_node.metering.sense import Sense
from pbal_node.rs485 import Rs485
from pbal_node.selector import Limits, Selector, Timing
from pbal_node.store import (
    STREAK,
    Config,
    Counters,
    FlashStats,
    Floors,
    SelectorState,
    Slot,
    makedirs,
)
from pbal_node.supply import Supply
from pbal_node.version import VERSION
from pbal_protocol import config as settings

_SAFE_AFTER = const(4)  # crashes in a row, as in ending.py
_UNPROVISIONED = const(247)

_missing: list = []  # parts of the board that could not be opened

_EV_BOOT = const(1)
_EV_METER_FAULT = const(6)
_EV_SAFE_MODE = const(12)
_EV_CRASH = const(13)
_EV_WATCHDOG = const(14)
_EV_FLASH_ERROR = const(16)
_INFO = const(0)
_ALARM = const(2)


def _identity(path: str = "/cfg/identity.json") -> dict:
    """The provisioned identity, empty while there is none that can be read."""
    try:
        with open(path) as f:
            found = json.load(f)
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    if found.get("phase") not in (1, 2, 3):
        found["phase"] = 0
    return found


def _took_update() -> bool:
    try:
        return len(os.listdir("/app")) > 0
    except OSError:
        return False


def assemble(app) -> None:
    """Give `app` its parts. The outputs go off before anything else can fail (S1)."""
    board = boards.load()
    drive = app.drive = boards.drive(board)
    makedirs("/cfg")
    makedirs("/log")
    _remember(app)
    identity = _identity()
    _describe(app, board, identity)
    app.config = _config(app, board, identity)
    hz = board.get("mains", {}).get("nominal_hz", 50.0)
    app.sense = _sense(app, board, hz)
    app.meter = _meter(app, board, hz)
    _selector(app, board, identity, drive)
    app.apply_config()
    _bearer(app, board, identity)
    led = board.get("led")
    if led:
        app.led = machine.Pin(led["pin"], machine.Pin.OUT, value=0)
    _tell_missing(app)
    button = board.get("button")
    if button:
        app.button = machine.Pin(button["pin"], machine.Pin.IN, machine.Pin.PULL_UP)


def _remember(app) -> None:
    """Clock, flash, event log; then count this boot."""
    app.mono = Monotonic(time.ticks_ms, time.ticks_diff)
    app.stats = FlashStats()
    app.floors = Floors("/cfg/floors", app.stats)
    app.clock = SiteClock(app.mono, random_u32(), app.floors.proven_s, app.clock_moved)
    app.counters = c = Counters("/cfg/counters", app.stats)
    if sys.path[0].startswith("/app") or _took_update():
        app.load_slots()
    app.log = log = EventLog(
        "/log/events", Slot("/cfg/acked", app.stats), app.now_ms, app.clock.now_s, app.stats
    )
    app.faults = Faults(log.emit)
    app.reset_cause = machine.reset_cause()
    # The ESP32 port reports machine.reset() and a panic of the chip's own software as HARD_RESET,
    # a soft reboot at the console as SOFT_RESET.
    crashed = _count_boot(
        c,
        app.reset_cause == machine.WDT_RESET,
        app.reset_cause == machine.HARD_RESET,
        app.slots is not None and app.slots.planned,
    )
    app.safe_mode = c.crashes >= _SAFE_AFTER
    log.emit(_EV_BOOT, _INFO, app.reset_cause, c.boots)
    if c.damaged:
        log.emit(_EV_FLASH_ERROR, _ALARM, c.damaged, 0)
    if crashed:
        log.emit(_EV_CRASH, _ALARM, app.reset_cause, c.crashes)
    if app.slots:
        app.slots.tell(log.emit)
    if app.reset_cause == machine.WDT_RESET:
        log.emit(_EV_WATCHDOG, _ALARM, 0, c.boots)
    if app.safe_mode:
        log.emit(_EV_SAFE_MODE, _ALARM, c.crashes, 0)


def _count_boot(c: Counters, died: bool, reset: bool, planned: bool) -> bool:
    """One more start; True when the one before it crashed.

    `died`: the watchdog ended it. `reset`: the chip was reset while it had its supply, which is a
    crash only when that start was still young. `planned`: an update restarts the node. A node that
    comes out of safe mode goes back into it with the next crash.
    """
    crashed = c.noted or died or (reset and c.young)
    if planned or not crashed:
        c.crashes = _SAFE_AFTER - 1 if reset and c.crashes >= _SAFE_AFTER else 0
    elif not c.noted:
        c.crashes = min(c.crashes + 1, STREAK)
    c.boots += 1
    c.noted = False
    c.young = True
    c.save()
    return crashed and not planned


def _part(app, name: str, make, instead: str):
    """make(), or what stands in for a part that is not there: a fault to report, not a crash."""
    try:
        return make()
    except (OSError, ValueError, RuntimeError) as e:
        print("pbal: %s does not work: %r" % (name, e))
        _missing.append(name)
        from pbal_node import absent

        return getattr(absent, instead)()


def _adc(app, board: dict, name: str):
    return _part(app, "adc " + name, lambda: boards.adc(board, name), "NoAdc")


def _tell_missing(app) -> None:
    """/log/missing.txt says which parts could not be opened; there is none while all could."""
    path = "/log/missing.txt"
    text = "\n".join(_missing)
    try:
        with open(path) as f:
            before = f.read()
    except OSError:
        before = ""
    try:
        if text and text != before:
            with open(path, "w") as f:
                f.write(text)
        elif before and not text:
            os.remove(path)
    except OSError:
        app.stats.errors += 1


def _describe(app, board: dict, identity: dict) -> None:
    update = board.get("update", {})
    app.release_key = identity.get("release") or update.get("key", "")
    app.proven_ms = update.get("proven_s", 60) * 1000
    app.board_id = board["board"]["id"]
    app.board_rated_a = board.get("limits", {}).get("rated_switch_a", 1000.0)
    app.board_dead_ms = board["selector"].get("dead_time_ms", 100)


def _config(app, table: dict, identity: dict) -> Config:
    defaults = {row[0]: row[5] for row in settings.KEYS}
    board = {}
    names = {row[1]: row[0] for row in settings.KEYS}
    for name, value in table.get("config", {}).items():
        if name in names:
            board[names[name]] = value
    marked = []
    for name in ("fixed", "opted_out"):
        if name in identity:
            board[names[name]] = 1 if identity[name] else 0
            if identity[name]:
                marked.append(names[name])
    return Config("/cfg/config", app.stats, defaults, board, legal_beside(marked))


def _sense(app, board: dict, hz: float) -> Sense:
    table = board["sense"]
    return Sense(
        [_adc(app, board, n) for n in ("vout", "va", "vb", "vc")],
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
    """The board's meter; the other driver is not even loaded."""
    table = board.get("meter", {})
    if table.get("kind", "pzem") == "pzem":
        from pbal_node.metering.pzem import Pzem

        uart = _part(app, "meter's port", lambda: boards.uart_meter(board), "NoPort")
        if "meter's port" in _missing:
            app.log.emit(_EV_METER_FAULT, _ALARM, 0, 0)  # a dead output cannot explain its silence
        return Pzem(uart, app.now_ms, table.get("unit", 1))
    from pbal_node.metering.adc import AdcMeter, Calibration, Energy

    sense = board["sense"]
    return AdcMeter(
        app.sense.channels[0].read_uv,
        _adc(app, board, "ct").read_uv,
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


def _selector(app, board: dict, identity: dict, drive) -> None:
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
        drive,
        app.sense,
        app.supply,
        app.current,
        app.clock.now_s,
        app.log.emit,
    )
    app.selector.latest_s = app.clock.latest_s
    app.selector.at_zero = app.at_zero
    app.selector.aux = boards.aux(board)
    app.release_slot = Slot("/cfg/release", app.stats)
    raw = app.release_slot.load()
    if raw is not None and len(raw) == 2:
        kept_ms = struct.unpack("<H", raw)[0] / 10
        if 0 < kept_ms <= 2 * app.timing.release_ms:
            app.selector.release_ms = kept_ms
    app.release_kept_ms = app.selector.release_ms
    app.settings = Settings()
    app.autonomy = Autonomy(
        app.selector,
        app.supply,
        app.settings,
        app.limits,
        app.state_store,
        identity.get("phase", 0),
        randrange,
        app.reset_cause == machine.PWRON_RESET,
        app.log.emit,
        app.silent_ms,
        app.load,
    )


def _join(app, identity: dict) -> int:
    """The end of the sealed link; the Modbus unit. Raises whatever a damaged identity causes."""
    from pbal_node.groupkeys import GroupKeys, kept
    from pbal_node.link import Link
    from pbal_protocol import kdf

    site = identity["site"]
    address = identity["address"]
    eui = unhexlify(identity["eui"])
    slot = Slot("/cfg/group", app.stats)
    generation, group = kept(
        slot,
        site,
        identity.get("generation", 1),
        kdf.group_key(unhexlify(identity["group"]), site),
    )
    app.link = Link(
        kdf.node_keys(unhexlify(identity["root"]), site, address),
        GroupKeys(site, address, generation, group, slot, app.floors.of(generation)),
        site,
        address,
        app.counters,
        app.floors,
        app.clock,
        app.selector,
        app.log,
        app.config,
        app,
    )
    app.eui = eui
    return address & 0xFF


def _bearer(app, board: dict, identity: dict) -> None:
    app.eui = bytes(8)
    unit = _UNPROVISIONED
    if identity:
        try:
            unit = _join(app, identity)
        except MemoryError:
            raise
        except Exception as e:  # the home keeps its power by S8 and S9; nobody can command it
            print("pbal: /cfg/identity.json is damaged (%r): provision the node anew" % e)
            _missing.append("identity")
    de = boards.rs485_driver(board)
    uart = _part(app, "rs485's port", lambda: boards.uart_rs485(board), "NoPort")
    app.bearer = Rs485(
        uart,
        de,
        board["uart"]["rs485"].get("baud", 115200),
        unit,
        app.link,
        app,
        (board["board"]["name"], VERSION, identity.get("name", "")),
        app.now_ms,
    )
    if not app.link:
        # Now, while the heap is whole: who is searched for may have run for days.
        from pbal_node.discovery import Finder

        app.bearer.finder = Finder(app.bearer, app)
