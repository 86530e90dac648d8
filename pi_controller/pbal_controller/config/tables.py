"""The controller's configuration: one table for each of its parts, with defaults and bounds.

Those of the link to HQ are in `uplink`. All of them together are `whole`; `files` reads them,
`complaints` has the error messages.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from pbal_controller.naming import Name
from pbal_host.tables import Table

Port = Annotated[int, Field(ge=0, le=65535)]
Share = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
DEFAULT_FUSE_A = 63.0


class SiteConfig(Table):
    """The transformer of this controller."""

    id: int = Field(ge=0, le=0xFFFFFFFF)
    name: Name = ""


class KeysConfig(Table):
    """Where the encrypted key store is and where its passphrase comes from.

    With neither `passphrase_file` nor a file `credential` in `$CREDENTIALS_DIRECTORY`
    (systemd's LoadCredential) the controller refuses to start.
    """

    file: Path = Path("/var/lib/pbal/keys.json")
    passphrase_file: Path | None = None
    credential: str = "pbal-keys"


class JournalConfig(Table):
    """The SQLite file of what must not be lost."""

    path: Path = Path("/var/lib/pbal/journal.db")
    keep_days: int = Field(default=400, ge=1, le=3650)


def is_loopback(host: str) -> bool:
    """Whether only programs of this computer reach a server at this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HttpConfig(Table):
    """The local status server. Port 0 takes a free one; `port_file` then says which.

    `token_file` holds what a reader has to show; it must be set to listen beyond this computer.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8480
    port_file: Path | None = None
    token_file: Path | None = None

    @field_validator("host")
    @classmethod
    def _one_address(cls, host: str) -> str:
        if host in ("", "0.0.0.0", "::", "*"):
            raise ValueError(
                f"{host!r} is every network of this computer; "
                "keep 127.0.0.1 and look at it through an SSH tunnel (docs/operations.md), or "
                "name one address"
            )
        return host

    @model_validator(mode="after")
    def _guarded(self) -> HttpConfig:
        if self.enabled and self.token_file is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other computers: set token_file, a file "
                "with a secret of at least 32 characters (openssl rand -hex 32), or keep 127.0.0.1"
            )
        return self


class BearerConfig(Table):
    """One bearer of any kind; its other keys are those of that kind (docs/bearers.md)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = Field(min_length=1, max_length=64)


class PathConfig(Table):
    """One path to a home: a bearer, and where on it the home is.

    Without `at` the place follows from the home's address, as the bearer's kind has it.
    """

    bearer: Name
    at: int | str | None = None


class HomeConfig(Table):
    """One home. `address` is segment * 256 + Modbus unit (1..247) on an RS-485 bus.

    `bus = "NAME"` is short for `paths = [{ bearer = "NAME" }]`.
    """

    address: int = Field(ge=1, le=0xFFFF)
    bus: Name | None = None
    # Paths to it, the preferred one first; the next is used while those before do not answer.
    paths: tuple[PathConfig, ...] = ()
    name: Name = ""
    # Never moved by this controller; the node has a mark of its own.
    fixed: bool = False
    # Rating of the home's service fuse: a reported current above it is not used.
    fuse_a: float = Field(default=DEFAULT_FUSE_A, gt=0, le=400)

    @model_validator(mode="after")
    def _one_or_the_other(self) -> HomeConfig:
        if self.bus is None and not self.paths:
            raise ValueError(
                f'home {self.address} has no path; write bus = "NAME", the name of a [bus.*] '
                'table, or paths = [{ bearer = "NAME" }]'
            )
        if self.bus is not None and self.paths:
            raise ValueError(
                f"home {self.address} has both bus and paths; put the bus into paths, the "
                "preferred one first, and drop bus"
            )
        names = [path.bearer for path in self.ways]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(
                f"home {self.address} has two paths over {twice}; one bearer is one path"
            )
        return self

    @property
    def ways(self) -> tuple[PathConfig, ...]:
        """Its paths, however they were written."""
        return self.paths or (PathConfig(bearer=self.bus or ""),)


class PollingConfig(Table):
    """How the homes of a segment are kept fresh."""

    # Never ask one healthy home more often than this; a full segment is limited by the line.
    min_interval_s: float = Field(default=0.25, ge=0, le=3600)
    # Silent this many times in a row: the home is backed off.
    dead_after: int = Field(default=3, ge=1, le=100)
    dead_backoff_s: Seconds = 1.0
    dead_backoff_max_s: Seconds = 30.0
    # Share of line time that may be spent on homes that count as silent.
    dead_share: float = Field(default=0.05, ge=0, le=0.5)
    time_sync_every_s: Seconds = 60.0
    health_every_s: Seconds = 60.0
    # A synced node's reading older than this on arrival was delayed on the way: not used.
    max_delay_s: Seconds = 10.0


class PlannerConfig(Table):
    """When to decide and how much may move. `core` goes to the balancing core as it is."""

    enabled: bool = True
    # Plan and explain, order nothing; the status shows what it would have saved.
    dry_run: bool = False
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


class PlausibilityConfig(Table):
    """Checks of what homes report. The bound by `home.fuse_a` holds with and without them."""

    enabled: bool = True
    # A doubt about a home ends when its reports have been plausible for this long.
    clear_s: float = Field(default=1800.0, ge=1, le=7 * 86400)
    # No home's voltage drops less than this with its own current; 0: not checked.
    drop_floor_ohm: float = Field(default=0.005, ge=0, le=1)
    # The bound counts every earlier moment for each fuse, also with a meter (docs/safety.md).
    strict: bool = False


class DispatchConfig(Table):
    """How a command is carried out and proven."""

    ttl_s: int = Field(default=60, ge=5, le=3600)
    resend_s: Seconds = 1.0
    # After the node says done, the measured voltages must agree within this long.
    confirm_s: Seconds = 15.0
    # After expiry an answer may still come for this long; then the measurement decides.
    grace_s: Seconds = 10.0
    # Output and supply voltage are "the same" within this share.
    vout_tolerance: float = Field(default=0.03, gt=0, le=0.2)


class MeterConfig(Table):
    """The transformer's own three-phase meter, optional."""

    # "sdm630" is the old name of kind "modbus" with that profile.
    kind: Literal["modbus", "sdm630", "file"]
    # A file of boards/meters by its name, or the path of one (docs/meters.md).
    profile: str = Field(default="", max_length=4096)
    # Its own port, or the name of a bus that it shares with the homes.
    port: str = ""
    bus: str = ""
    # Without them as the profile has it.
    baud: int | None = Field(default=None, ge=1200, le=1_000_000)
    parity: Literal["N", "E", "O"] | None = None
    stop_bits: Literal[1, 2] | None = None
    # Of the first device where each phase has its own.
    unit: int = Field(default=1, ge=1, le=247)
    # Which phases the meter's L1, L2, L3 are on, if not as the profile has it.
    phases: Literal["ABC", "ACB", "BAC", "BCA", "CAB", "CBA"] | None = None
    path: Path | None = None
    every_s: Seconds = 2.0
    # A file that was written longer ago is no reading.
    max_age_s: Seconds = 60.0

    @model_validator(mode="after")
    def _needs(self) -> MeterConfig:
        if self.kind == "modbus" and not self.profile:
            raise ValueError(
                'kind "modbus" needs profile, e.g. profile = "sdm630"; `pbal meter list` names them'
            )
        if self.kind != "modbus" and self.profile:
            raise ValueError(f'kind "{self.kind}" takes no profile; write kind = "modbus"')
        if self.kind != "file" and bool(self.port) == bool(self.bus):
            raise ValueError(
                f'kind "{self.kind}" needs either port, e.g. port = "/dev/ttyUSB1", or bus, the '
                "name of a [bus.*] table"
            )
        if self.kind == "file" and self.path is None:
            raise ValueError('kind "file" needs path, e.g. path = "/run/pbal/meter.json"')
        return self


class ResidualConfig(Table):
    """What the transformer's meter and the homes together may differ by (docs/meters.md)."""

    enabled: bool = True
    # A on each phase that is known to have no node: street lighting, homes without one.
    known_a: tuple[float, float, float] = (0.0, 0.0, 0.0)
    # More than this, and than this share of the phase's current, is worth an alarm ...
    limit_a: float = Field(default=10.0, gt=0, le=1000)
    limit_share: float = Field(default=0.1, ge=0, le=1)
    # ... once it has been so, with the same finding, for so long; as long without: it is over.
    lasts_s: float = Field(default=900.0, ge=1, le=86400)


class TransformerConfig(Table):
    """The transformer: its rating and its meter."""

    rated_kva: float | None = Field(default=None, gt=0, le=100_000)
    # Of the name plate: the loss at rated current in all three phases (for losses avoided).
    load_loss_w: float | None = Field(default=None, gt=0, le=1_000_000)
    # Resistance of one conductor of the main line, out to where its homes are on average.
    line_ohm: float | None = Field(default=None, gt=0, le=100)
    # The air around it, for the estimate of its hottest spot: a warm day's mean.
    ambient_c: float = Field(default=30.0, ge=-40, le=60)
    meter: MeterConfig | None = None
    residual: ResidualConfig = ResidualConfig()


class UpdateConfig(Table):
    """Application updates: releases put into `directory` are brought to the homes."""

    directory: Path | None = None
    # A release starts when it is published; or waits for `rollout resume`, or for an order of HQ.
    start: Literal["published", "ordered"] = "published"
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


class StandbyConfig(Table):
    """A second controller on the same buses, one of the two at work (docs/standby.md)."""

    member: Literal["a", "b"]
    # Where the other one listens for us, and where we listen for it.
    peer: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,253}:[1-9][0-9]{0,4}$")
    host: str = "0.0.0.0"
    port: Port = 8490
    # The buses have been silent for so long: the other may take over.
    take_s: float = Field(default=6.0, ge=4, le=120)


class SecurityConfig(Table):
    """The group key, which every node holds (docs/operations.md)."""

    # A new one this often, once every living home has taken the one before; 0: never.
    group_key_days: float = Field(default=90.0, ge=0, le=3650)
    # A new one is used after this, also when some homes have not proven that they have it.
    group_key_wait_s: float = Field(default=3600.0, ge=1, le=43200)


class LogConfig(Table):
    """Structured logging to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "text"
