"""Builds a node from the board file, the identity and what is stored in flash.

Needed once per boot, so the application unloads it afterwards.
"""

import json
import os
import sys
import time
from binascii import unhexlify

import machine
from micropython import const

from pbal_node import board as boards
from pbal_node.clock import Monotonic, SiteClock, random_u32
from pbal_node.counters import STREAK, Counters, Floors
from pbal_node.events import EventLog
from pbal_node.faults import Faults
from pbal_node.hardware import fit
from pbal_node.report import Report
from pbal_node.store import FlashStats, Slot, makedirs
from pbal_node.version import VERSION

_SAFE_AFTER = const(4)  # crashes in a row, as in shutdown.py
_UNPROVISIONED = const(247)

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
    app.drive = boards.drive(board)
    makedirs("/cfg")
    makedirs("/log")
    _remember(app)
    identity = _identity()
    update = board.get("update", {})
    app.release_key = identity.get("release") or update.get("key", "")
    app.proven_ms = update.get("proven_s", 60) * 1000
    fit(app, board, identity)
    app.report = app.settings.report = _report(app, board, identity)
    app.settings.apply()
    app.settings.forget()
    _bearers(app, board, identity)
    boards.tell_missing(app.stats)
    boards.forget_unused(app.drive, app.selector.aux)


def _remember(app) -> None:
    """Clock, flash, event log; then count this boot."""
    app.mono = Monotonic(time.ticks_ms, time.ticks_diff)
    app.stats = FlashStats(app.now_ms)
    app.floors = Floors("/cfg/floors", app.stats)
    app.clock = SiteClock(app.mono, random_u32(), app.floors.proven_s, app.clock_moved)
    app.counters = c = Counters("/cfg/counters", app.stats)
    if sys.path[0].startswith("/app") or _took_update():
        app.load_slots()
    app.log = log = EventLog(
        "/log/events", Slot("/cfg/acked", app.stats), app.now_ms, app.clock.now_s, app.stats
    )
    app.faults = Faults(log.emit)
    cause = machine.reset_cause()
    # The ESP32 port reports machine.reset() and a panic of the chip's own software as HARD_RESET,
    # a soft reboot at the console as SOFT_RESET.
    crashed = _count_boot(
        c,
        cause == machine.WDT_RESET,
        cause == machine.HARD_RESET,
        app.slots is not None and app.slots.planned,
    )
    app.safe_mode = c.crashes >= _SAFE_AFTER
    log.emit(_EV_BOOT, _INFO, cause, c.boots)
    if c.damaged:
        log.emit(_EV_FLASH_ERROR, _ALARM, c.damaged, 0)
    if crashed:
        log.emit(_EV_CRASH, _ALARM, cause, c.crashes)
    if app.slots:
        app.slots.tell(log.emit)
    if cause == machine.WDT_RESET:
        log.emit(_EV_WATCHDOG, _ALARM, 0, c.boots)
    if app.safe_mode:
        log.emit(_EV_SAFE_MODE, _ALARM, c.crashes, 0)


def _count_boot(c: Counters, died: bool, reset: bool, planned: bool) -> bool:
    """One more start; True when the one before it crashed.

    `died`: the watchdog ended it. `reset`: the chip was reset while it had its supply, which is a
    crash only when that start was not proven. `planned`: an update restarts the node. A node that
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


def _report(app, board: dict, identity: dict) -> Report:
    r = Report()
    r.mono = app.mono
    r.clock = app.clock
    r.counters = app.counters
    r.stats = app.stats
    r.log = app.log
    r.limits = app.limits
    r.state_store = app.state_store
    r.selector = app.selector
    r.measuring = app.measuring
    r.bearers = app.bearers
    r.identity = (board["board"]["name"], VERSION, identity.get("name", ""))
    r.eui = bytes(8)
    r.board_id = board["board"]["id"]
    r.reset_cause = machine.reset_cause()
    return r


def _join(app, identity: dict) -> int:
    """This node's end of the link; the Modbus unit. Raises whatever a damaged identity
    causes, and ValueError for one that was copied from another chip.
    """
    from pbal_node.groupkeys import GroupKeys, kept
    from pbal_node.link import Link
    from pbal_protocol import frames, kdf

    site = identity["site"]
    address = identity["address"]
    eui = unhexlify(identity["eui"])
    uid = machine.unique_id()
    if eui != uid[:3] + b"\xff\xfe" + uid[3:6]:
        # Its keys are another chip's, which seals with the same counters.
        raise ValueError("given to the node " + identity["eui"])
    slot = Slot("/cfg/group", app.stats)
    generation, group = kept(
        slot,
        site,
        identity.get("generation", 1),
        kdf.group_key(unhexlify(identity["group"]), site),
    )
    up, down = kdf.node_keys(unhexlify(identity["root"]), site, address)
    app.link = link = Link(
        (
            # A reserved block is used from its start: the first counter is above all earlier.
            frames.Sealer(up, frames.UP, site, address),
            frames.Opener(down, frames.DOWN, site, address, app.counters.down_floor),
            GroupKeys(site, address, generation, group, slot, app.floors.of(generation)),
        ),
        (app.counters, app.floors),
        app.clock,
        app.selector,
        app.settings,
        app.report,
        app.log,
        app.faults,
    )
    link.wake_selector = app.wake_selector
    link.wake_meter = app.measuring.wake
    app.report.eui = eui
    return address & 0xFF


def _line(board: dict, identity: dict, de):
    """The port on which a bridge polls its neighbours; None for another node."""
    if identity.get("role") != "bridge":
        return None
    uart = boards.part("rs485's port", lambda: boards.uart_rs485(board), "NoPort")
    return uart, de, board["uart"]["rs485"].get("baud", 115200)


def _network(app, board: dict, identity: dict, de) -> bool:
    """The bearer over Wi-Fi, in place of RS-485; False when that is not possible."""
    from pbal_node.bearers.udp import make

    try:
        app.bearers.extend(make(app, identity, _line(board, identity, de)))
    except MemoryError:
        raise
    except Exception as e:  # printed without its arguments: one may be a network's key
        print("pbal: the network of /cfg/identity.json is damaged (%s)" % type(e).__name__)
        boards.missing.append("network")
        return False
    return True


def _bearers(app, board: dict, identity: dict) -> None:
    unit = _UNPROVISIONED
    if identity:
        try:
            unit = _join(app, identity)
        except MemoryError:
            raise
        except Exception as e:  # the home keeps its power by S8 and S9; it cannot be commanded
            print("pbal: /cfg/identity.json cannot be used (%r): provision the node anew" % e)
            boards.missing.append("identity")
    de = boards.rs485_driver(board)  # off, also where the line is not used
    if app.link and "udp" in identity and _network(app, board, identity, de):
        return
    told = identity.get("radio") if app.link and "radio" in board else None
    if told:
        port = _line(board, identity, de)
        app.radio = (board["radio"], identity, port)  # fitted when all this is unloaded
        app.counters.keep_near()
        if port or not told.get("wired"):
            return
    from pbal_node.bearers.rs485 import Rs485

    uart = boards.part("rs485's port", lambda: boards.uart_rs485(board), "NoPort")
    rs485 = Rs485(
        (uart, de, board["uart"]["rs485"].get("baud", 115200)),
        unit,
        app.link,
        app.report,
        app.settings.config,
        app.selector,
        app.faults,
        app.measuring.rhythm,
    )
    app.bearers.append(rs485)
    if not app.link:
        # Now, while the heap is not fragmented: a search may come after days.
        from pbal_node.discovery import Finder

        app.finder = rs485.finder = Finder(rs485.rx, app.led, app.now_ms)
