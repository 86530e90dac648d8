"""What the configuration names: serial ports, key store, journal, unit, the running controller."""

import contextlib
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pbal_controller.bearers.rs485 import BusConfig
from pbal_controller.config import Config
from pbal_controller.errors import KeyStoreError
from pbal_controller.journal import entries, faults
from pbal_controller.keys import check_keys
from pbal_host import Finding

from .system import Machine

_ANSWER_S = 5.0
_BIG_WAL = 256 << 20
_UNIT = "pbal-controller"


def serial_ports(machine: Machine, config: Config) -> Iterator[Finding]:
    """The ports of all buses, of the meter and of the uplink's modem."""
    ports = {
        f"bus {name}": settings.port
        for name, (_, settings) in config.bearers().items()
        if isinstance(settings, BusConfig)
    }
    if config.transformer.meter is not None and config.transformer.meter.port:
        ports["transformer meter"] = config.transformer.meter.port
    if config.uplink.kind == "lorawan" and config.uplink.lorawan is not None:
        ports["LoRaWAN modem"] = config.uplink.lorawan.port
    for user, port in ports.items():
        if not port.startswith("/"):
            yield Finding("serial", "note", f"{user}: {port} is no port of this computer")
            continue
        yield _serial_port(machine, user, machine.path(port), port)


def _serial_port(machine: Machine, user: str, path: Path, port: str) -> Finding:
    if not path.exists():
        return Finding(
            "serial", "error", f"{user}: {port} is not there",
            "Plug the adapter in; ls /dev/serial/by-id shows the names there are.",
        )  # fmt: skip
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding(
            "serial", "error", f"{user}: {port} cannot be opened by this user",
            "sudo adduser pbal dialout (and run pbal doctor as that user, or as root).",
        )  # fmt: skip
    real = Path(os.path.realpath(path))
    timer = machine.text(machine.path("/sys/class/tty") / real.name / "device/latency_timer")
    if timer.isdigit() and int(timer) > 4:
        return Finding(
            "serial", "warning",
            f"{user}: the adapter holds bytes back for {timer} ms; every poll takes that longer",
            f"sudo setserial {port} low_latency, or a udev rule that writes 1 to latency_timer.",
        )  # fmt: skip
    if real == path and "ttyUSB" in path.name:
        return Finding(
            "serial", "warning", f"{user}: {port} may be another adapter after a restart",
            "Name it by its link in /dev/serial/by-id.",
        )  # fmt: skip
    return Finding("serial", "ok", f"{user}: {port}")


def key_store(config: Config, passphrase_file: Path | None) -> Iterator[Finding]:
    """Whether the key store opens and has every home's key."""
    path = config.keys.file
    try:
        words = check_keys(config, passphrase_file)
    except KeyStoreError as exc:
        yield Finding("keys", "error", str(exc), "docs/operations.md, Keys; or restore a backup.")
        return
    with contextlib.suppress(OSError):
        if path.stat().st_mode & 0o077:
            yield Finding(
                "keys", "warning", f"{path}: others may read it", f"sudo chmod 600 {path}"
            )
            return
    yield Finding("keys", "note" if words.startswith("not opened") else "ok", f"{path}: {words}")


def journal(config: Config) -> Iterator[Finding]:
    """Whether the journal's file is whole, and what a person must decide; it is only read."""
    path = config.journal.path
    if not path.exists():
        yield Finding("journal", "note", f"{path}: none yet; the controller makes it")
        return
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            db.execute("PRAGMA busy_timeout = 5000")
            (told,) = db.execute("PRAGMA quick_check(1)").fetchone()
            reasons = [
                row[0] for row in db.execute("SELECT reason FROM stand_down WHERE lifted_s IS NULL")
            ]
            (quarantined,) = db.execute("SELECT COUNT(*) FROM quarantine").fetchone()
            audit = next(faults(entries(db)), "") if told == "ok" else ""
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        yield Finding(
            "journal", "error", f"{path}: cannot be read ({exc})",
            "Run as root or as its owner; if it is damaged: pbal backup restore.",
        )  # fmt: skip
        return
    if told != "ok":
        yield Finding(
            "journal", "error", f"{path}: damaged ({told})", "Restore it: pbal backup restore."
        )
        return
    if audit:
        yield Finding(
            "journal", "error", f"the audit log is not whole: {audit}",
            "pbal audit verify; find out who had access to the Pi.",
        )  # fmt: skip
    if reasons:
        yield Finding(
            "journal", "error", f"the controller stands down ({', '.join(reasons)})",
            "docs/operations.md, When it stands down; then pbal-controller adopt.",
        )  # fmt: skip
    if quarantined:
        yield Finding(
            "journal", "warning", f"{quarantined} home(s) in quarantine",
            "Look at them, then pbal-controller lift ADDRESS.",
        )  # fmt: skip
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size > _BIG_WAL:
        yield Finding(
            "journal", "warning", f"{wal}: {wal.stat().st_size >> 20} MB are not folded back",
            "Some program keeps the journal open for reading; end it (fuser -v on the file).",
        )  # fmt: skip
    yield Finding("journal", "ok", f"{path}: whole, {path.stat().st_size >> 10} kB")


def unit(machine: Machine) -> Iterator[Finding]:
    """The state of the controller's unit in systemd."""
    names = "ActiveState,SubState,Result,NRestarts,ExecMainStatus,LoadState"
    told = machine.run(("systemctl", "show", _UNIT, f"--property={names}"))
    if told is None:
        yield Finding("unit", "note", "no systemd here")
        return
    state = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    log = f"journalctl -u {_UNIT} -n 30"
    if state.get("LoadState") == "not-found":
        yield Finding("unit", "note", f"{_UNIT} is not installed (docs/install.md)")
    elif state.get("ActiveState") == "failed":
        code = state.get("ExecMainStatus", "?")
        yield Finding(
            "unit", "error", f"{_UNIT} failed, exit code {code}",
            f"{log}; the codes are in docs/operations.md, When it does not start. Then "
            f"sudo systemctl restart {_UNIT}",
        )  # fmt: skip
    elif state.get("ActiveState") != "active":
        yield Finding(
            "unit", "error", f"{_UNIT} is {state.get('ActiveState', 'unknown')}",
            f"sudo systemctl enable --now {_UNIT}",
        )  # fmt: skip
    elif state.get("NRestarts", "0") not in ("0", ""):
        yield Finding(
            "unit", "warning", f"{_UNIT} was started again {state['NRestarts']} times", f"{log}"
        )
    else:
        yield Finding("unit", "ok", f"{_UNIT} is {state.get('SubState', 'active')}")


def running(config: Config) -> Iterator[Finding]:
    """The running controller's own status."""
    http = config.http
    if not http.enabled or http.port == 0:
        yield Finding("controller", "note", "its status server is off or has no fixed port")
        return
    host = f"[{http.host}]" if ":" in http.host else http.host
    try:
        with urllib.request.urlopen(  # an address of the configuration
            f"http://{host}:{http.port}/healthz", timeout=_ANSWER_S
        ) as answer:
            answer.read(1)
        yield Finding("controller", "ok", "healthy")
    except urllib.error.HTTPError as exc:
        said = exc.read(2000).decode(errors="replace").strip()
        yield Finding(
            "controller", "error", f"not healthy: {said}",
            "Look at the status page; docs/operations.md, What a fault looks like.",
        )  # fmt: skip
    except (OSError, ValueError) as exc:
        why = getattr(exc, "reason", exc)
        yield Finding(
            "controller", "error", f"no answer at {http.host}:{http.port} ({why})",
            f"sudo systemctl status {_UNIT}",
        )  # fmt: skip
