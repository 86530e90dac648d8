"""What the controller can be told: one table for each of its parts, with defaults and bounds.

How a configuration is read is `config_files`; what is said of a wrong one, `config_complaints`.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pbal_controller.naming import Name

Port = Annotated[int, Field(ge=0, le=65535)]
Share = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
DEFAULT_FUSE_A = 63.0


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteConfig(_Table):
    """The transformer this controller looks after."""

    id: int = Field(ge=0, le=0xFFFFFFFF)
    name: Name = ""


class KeysConfig(_Table):
    """Where the encrypted key store is and where its passphrase comes from.

    With neither `passphrase_file` nor a file `credential` in `$CREDENTIALS_DIRECTORY`
    (systemd's LoadCredential) the controller refuses to start.
    """

    file: Path = Path("/var/lib/pbal/keys.json")
    passphrase_file: Path | None = None
    credential: str = "pbal-keys"


class JournalConfig(_Table):
    """The SQLite file of what must not be lost."""

    path: Path = Path("/var/lib/pbal/journal.db")
    keep_days: int = Field(default=400, ge=1, le=3650)


def is_loopback(host: str) -> bool:
    """Whether only programs of this computer reach a server at this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HttpConfig(_Table):
    """The local status server. Port 0 takes a free one; `port_file` then says which."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8480
    port_file: Path | None = None

    @field_validator("host")
    @classmethod
    def _one_address(cls, host: str) -> str:
        if host in ("", "0.0.0.0", "::", "*"):
            raise ValueError(
                f"{host!r} is every network of this computer, and the page asks for no password; "
                "keep 127.0.0.1 and look at it through an SSH tunnel (docs/operations.md), or "
                "name one address"
            )
        return host


class BusConfig(_Table):
    """One RS-485 segment; `port` is any pyserial URL."""

    port: str
    baud: int = Field(default=115200, ge=1200, le=4_000_000)
    parity: Literal["N", "E", "O"] = "E"
    stop_bits: Literal[1, 2] = 1
    # A node begins to answer within this long or is taken for silent this time.
    answer_timeout_ms: float = Field(default=60.0, ge=5, le=2000)
    # Quiet time the nodes need after a broadcast before the next request.
    broadcast_gap_ms: float = Field(default=10.0, ge=2, le=1000)
    # Adapters that hear themselves.
    local_echo: bool = False
    # The kernel drives DE through RTS (TIOCSRS485); most adapters do it in hardware.
    rts_de: bool = False


class HomeConfig(_Table):
    """One home. `address` is segment * 256 + Modbus unit (1..247)."""

    address: int = Field(ge=1, le=0xFFFF)
    bus: Name
    name: Name = ""
    # Never moved by this controller; the node has a mark of its own.
    fixed: bool = False
    # Of the home's service fuse: what it says beyond that is not believed.
    fuse_a: float = Field(default=DEFAULT_FUSE_A, gt=0, le=400)

    @model_validator(mode="after")
    def _unit_in_range(self) -> HomeConfig:
        unit = self.address & 0xFF
        if not 1 <= unit <= 247:
            raise ValueError(
                f"address {self.address} has Modbus unit {unit}; use segment * 256 + a unit 1..247"
            )
        return self


class PollingConfig(_Table):
    """How the homes of a segment are kept fresh."""

    # Never ask one healthy home more often than this; a full segment is limited by the line.
    min_interval_s: float = Field(default=0.25, ge=0, le=3600)
    # Silent this many times in a row: the home is backed off.
    dead_after: int = Field(default=3, ge=1, le=100)
    dead_backoff_s: Seconds = 1.0
    dead_backoff_max_s: Seconds = 30.0
    # Share of line time that may be spent on homes believed dead.
    dead_share: float = Field(default=0.05, ge=0, le=0.5)
    time_sync_every_s: Seconds = 60.0
    health_every_s: Seconds = 60.0
    # A synced node's reading older than this on arrival was delayed on the way: not used.
    max_delay_s: Seconds = 10.0


class PlannerConfig(_Table):
    """When to decide and how much may move. `core` goes to the balancing core as it is."""

    enabled: bool = True
    every_s: Seconds = 60.0
    # First decision this long after start, so that every home has been heard.
    settle_s: float = Field(default=10.0, ge=0, le=3600)
    # A reading older than this does not take part in a plan ...
    max_age_s: Seconds = 10.0
    # ... and with fewer fresh homes than this share there is no plan at all.
    min_fresh_share: Share = 0.8
    # At most this share of all homes may be moving at once (at least one home).
    max_moving_share: Share = 0.1
    # Overload: decide at once when a phase carries more than this.
    phase_limit_a: float | None = Field(default=None, gt=0)
    overload_hold_s: Seconds = 10.0
    # A home that draws more waits: no node transfers above its rated switching current (S6).
    max_switch_a: float = Field(default=20.0, gt=0, le=200)
    # How often currents are handed to the planner's memory.
    observe_every_s: Seconds = 5.0
    core: dict[str, float | int | bool | str | list[float]] = Field(default_factory=dict)


class PlausibilityConfig(_Table):
    """Checks of what homes say. The bound by `home.fuse_a` holds with and without them."""

    enabled: bool = True
    # A home in doubt is believed again when its word has fitted for this long.
    clear_s: float = Field(default=1800.0, ge=1, le=7 * 86400)
    # No home's voltage drops less than this with its own current; 0: not checked.
    drop_floor_ohm: float = Field(default=0.005, ge=0, le=1)


class DispatchConfig(_Table):
    """How a command is carried out and proven."""

    ttl_s: int = Field(default=60, ge=5, le=3600)
    resend_s: Seconds = 1.0
    # After the node says done, the measured voltages must agree within this long.
    confirm_s: Seconds = 15.0
    # After expiry an answer may still come for this long; then the measurement decides.
    grace_s: Seconds = 10.0
    # Output and supply voltage are "the same" within this share.
    vout_tolerance: float = Field(default=0.03, gt=0, le=0.2)


class MeterConfig(_Table):
    """The transformer's own three-phase meter, optional."""

    kind: Literal["sdm630", "file"]
    # Its own port, or the name of a bus that it shares with the homes.
    port: str = ""
    bus: str = ""
    baud: int = Field(default=9600, ge=1200, le=1_000_000)
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    unit: int = Field(default=1, ge=1, le=247)
    path: Path | None = None
    every_s: Seconds = 2.0
    # A file that was written longer ago is no reading.
    max_age_s: Seconds = 60.0

    @model_validator(mode="after")
    def _needs(self) -> MeterConfig:
        if self.kind == "sdm630" and bool(self.port) == bool(self.bus):
            raise ValueError(
                'kind "sdm630" needs either port, e.g. port = "/dev/ttyUSB1", or bus, the name '
                "of a [bus.*] table"
            )
        if self.kind == "file" and self.path is None:
            raise ValueError('kind "file" needs path, e.g. path = "/run/pbal/meter.json"')
        return self


class TransformerConfig(_Table):
    """The transformer: its rating and its meter."""

    rated_kva: float | None = Field(default=None, gt=0)
    meter: MeterConfig | None = None


class UplinkConfig(_Table):
    """Summaries for HQ. `null` delivers nothing: the outbox keeps the latest `max_rows`."""

    kind: Literal["null"] = "null"
    every_s: Seconds = 60.0
    max_rows: int = Field(default=100_000, ge=100)


class UpdateConfig(_Table):
    """Application updates: releases put into `directory` are brought to the homes."""

    directory: Path | None = None
    # Public release keys, hex; with none given only the nodes judge the signature.
    keys: tuple[Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")], ...] = ()
    # So many homes first; then in waves of so many; so many restart at the same time.
    canary: int = Field(default=1, ge=1, le=247)
    wave: int = Field(default=8, ge=1, le=247)
    at_once: int = Field(default=1, ge=1, le=247)
    # An updated home is watched for this long before it counts as done.
    soak_s: float = Field(default=600.0, ge=0, le=7 * 86400)
    # A trial that is not over after this has failed.
    trial_s: Seconds = 1800.0
    # A home silent for this long is put off, or, once updated, counts as failed.
    silent_s: Seconds = 120.0
    # Share of otherwise idle line time that updates may take.
    line_share: Share = 0.5


class SecurityConfig(_Table):
    """The group key, which lies in every node (docs/operations.md)."""

    # A new one this often, once every living home has taken the one before; 0: never.
    group_key_days: float = Field(default=90.0, ge=0, le=3650)
    # A new one is used after this, also when some homes have not proven that they have it.
    group_key_wait_s: float = Field(default=3600.0, ge=1, le=43200)


class LogConfig(_Table):
    """Structured logging to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "text"


def _device(port: str) -> str:
    """The same for two names of one serial device (a link in /dev/serial/by-id, say)."""
    return os.path.realpath(port) if port.startswith("/") else port.lower()


class Config(_Table):
    """Everything the controller is told."""

    site: SiteConfig
    keys: KeysConfig = KeysConfig()
    journal: JournalConfig = JournalConfig()
    http: HttpConfig = HttpConfig()
    bus: dict[Name, BusConfig]
    home: tuple[HomeConfig, ...] = ()
    polling: PollingConfig = PollingConfig()
    planner: PlannerConfig = PlannerConfig()
    plausibility: PlausibilityConfig = PlausibilityConfig()
    dispatch: DispatchConfig = DispatchConfig()
    transformer: TransformerConfig = TransformerConfig()
    uplink: UplinkConfig = UplinkConfig()
    update: UpdateConfig = UpdateConfig()
    security: SecurityConfig = SecurityConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _references(self) -> Config:
        seen: dict[int, str] = {}
        units: set[tuple[str, int]] = set()
        for home in self.home:
            if home.bus not in self.bus:
                known = ", ".join(sorted(self.bus)) or "none is declared"
                raise ValueError(
                    f'home {home.address} is on bus "{home.bus}", which is not declared '
                    f"(known: {known}); add a table [bus.{home.bus}] or correct the home"
                )
            if home.address in seen:
                raise ValueError(f"two homes have address {home.address}; addresses are unique")
            if (home.bus, home.address & 0xFF) in units:
                raise ValueError(
                    f"two homes on bus {home.bus} have unit {home.address & 0xFF}; "
                    "use another bus or another unit"
                )
            seen[home.address] = home.name
            units.add((home.bus, home.address & 0xFF))
        ports: dict[str, str] = {}
        for name, bus in self.bus.items():
            other = ports.setdefault(_device(bus.port), name)
            if other != name:
                raise ValueError(
                    f"bus {other} and bus {name} are on one port, {bus.port}; each bus needs its "
                    "own adapter"
                )
        meter = self.transformer.meter
        if meter is not None and meter.port and _device(meter.port) in ports:
            name = ports[_device(meter.port)]
            raise ValueError(
                f'transformer.meter.port is the port of bus {name}; write bus = "{name}" in its '
                "place"
            )
        if meter is not None and meter.bus:
            if meter.bus not in self.bus:
                raise ValueError(f'transformer.meter.bus "{meter.bus}" is not declared')
            if (meter.bus, meter.unit) in units:
                raise ValueError(
                    f"transformer.meter.unit {meter.unit} is the unit of a home on the same bus"
                )
        return self
