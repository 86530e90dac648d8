"""The machines of a database cluster: two or more hold data, all have a vote in etcd."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from pbal_hq.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
# What goes into YAML, INI and units as it is.
_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")


def check_path(path: Path) -> None:
    """Raises ConfigError for one that files cannot hold as it is."""
    if not _PATH.fullmatch(str(path)):
        raise ConfigError(f"{path}: must be a whole path of letters, digits, '.', '_', '-'")


@dataclass(frozen=True)
class Watchdog:
    """What resets a machine whose Patroni hangs while its PostgreSQL goes on.

    `mode`: "required" (no watchdog, no primary), "automatic" or "off". `driver` "testing": the
    device is a named pipe that a program reads, where the kernel has none.
    """

    mode: str = "required"
    device: Path = Path("/dev/watchdog")
    driver: str = ""


@dataclass(frozen=True)
class Place:
    """Where a member keeps things: its configuration, its data, the server's socket."""

    etc: Path = Path("/etc/pbal-db")
    data: Path = Path("/var/lib/pbal-db")
    run: Path = Path("/run/pbal-db")


@dataclass(frozen=True)
class Member:
    """One machine. `witness`: it votes, and holds no data."""

    name: str
    address: str
    witness: bool = False
    place: Place = Place()

    @property
    def host(self) -> str:
        """Its address as it stands in URLs."""
        return f"[{self.address}]" if ":" in self.address else self.address


def read_member(text: str, *, witness: bool = False) -> Member:
    """NAME=ADDRESS. Raises ConfigError."""
    name, _, address = text.partition("=")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{text}: a member is NAME=ADDRESS; a name has a to z, digits and -")
    try:
        return Member(name, str(ip_address(address)), witness)
    except ValueError:
        raise ConfigError(
            f"{text}: {address!r} is no IP address; a member is NAME=ADDRESS"
        ) from None


@dataclass(frozen=True)
class Cluster:
    """All of them. `backups`: a folder that every data member reaches by this path, or None.

    Raises ConfigError for what could not survive the loss of a machine.
    """

    members: tuple[Member, ...]
    bin_dir: Path
    backups: Path | None = None
    watchdog: Watchdog = Watchdog()

    def __post_init__(self) -> None:
        for what in ("name", "address"):
            seen = [getattr(member, what) for member in self.members]
            if twice := sorted({each for each in seen if seen.count(each) > 1}):
                raise ConfigError(f"two members have the {what} {twice[0]}")
        if len(self.holders) < 2:
            raise ConfigError("a cluster has two members with data or more: --member NAME=ADDRESS")
        if len(self.members) < 3 or len(self.members) % 2 == 0:
            raise ConfigError(
                f"{len(self.members)} machines vote; it takes 3, 5 or 7, so that one may be lost "
                "and none can go on alone: add --witness NAME=ADDRESS"
            )
        paths = [self.bin_dir, self.watchdog.device]
        paths += [p for m in self.members for p in (m.place.etc, m.place.data, m.place.run)]
        paths += [self.backups] if self.backups else []
        for path in paths:
            check_path(path)

    @property
    def holders(self) -> tuple[Member, ...]:
        """Those with data."""
        return tuple(member for member in self.members if not member.witness)
