"""The site file (`site.toml`): transformer, feeders, buses and homes as they were built.

The controller's pbal.toml is generated from it. Every complaint names the key and what is right.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from pbal_controller.bearers.lora import RadioConfig
from pbal_controller.config import (
    DEFAULT_FUSE_A,
    BusConfig,
    ResidualConfig,
    Table,
    TransformerConfig,
)
from pbal_controller.documents import DocumentError, read_toml, toml_value
from pbal_controller.naming import Name
from pbal_host.tables import complaint

from .errors import InputError

SITE = Path("/etc/pbal/site.toml")
Bearer = Literal["rs485", "lora", "wifi"]


class Head(Table):
    """The site itself."""

    id: int = Field(ge=1, le=0xFFFFFFFF)
    name: Name = ""


class Feeder(Table):
    """A cable that leaves the transformer, and what it may carry."""

    name: Name
    rated_a: float | None = Field(default=None, gt=0)


class Bus(BusConfig):
    """An RS-485 segment as the controller knows it, and the feeder it runs along."""

    feeder: Name = ""


class Radio(RadioConfig):
    """A LoRa radio as the controller knows it, and the feeder on which its homes are."""

    feeder: Name = ""

    @property
    def words(self) -> str:
        """Its channel, in a line."""
        return f"LoRa {self.region}, {self.up[0] / 1e6:.4f} MHz, SF{self.sf}"


class Home(Table):
    """One home. `bus` is the bus or radio it is reached over; `phase` is where it was connected
    when it was commissioned.
    """

    address: int = Field(ge=1, le=0xFFFF)
    name: Name = ""
    bus: Name
    feeder: Name = ""
    phase: Literal["", "A", "B", "C"] = ""
    bearer: Bearer = "rs485"
    fixed: bool = False
    fuse_a: float = Field(default=DEFAULT_FUSE_A, gt=0, le=400)
    eui: str = Field(default="", pattern=r"^($|[0-9a-f]{16}$)")
    board: Name = ""

    @model_validator(mode="after")
    def _unit(self) -> "Home":
        if not 1 <= self.address & 0xFF <= 247:
            raise ValueError(
                f"address {self.address} has unit {self.address & 0xFF}; "
                "use segment * 256 + a unit 1..247"
            )
        return self


class Site(Table):
    """A whole site file."""

    site: Head
    transformer: TransformerConfig = TransformerConfig()
    feeder: tuple[Feeder, ...] = ()
    bus: dict[Name, Bus] = Field(default_factory=dict)
    radio: dict[Name, Radio] = Field(default_factory=dict)
    home: tuple[Home, ...] = ()

    @model_validator(mode="after")
    def _references(self) -> "Site":
        feeders = {feeder.name for feeder in self.feeder}
        if len(feeders) != len(self.feeder):
            raise ValueError("two feeders have the same name")
        twice = sorted(set(self.bus) & set(self.radio))
        if twice:
            raise ValueError(f"{twice[0]} is both a bus and a radio; give one another name")
        media: dict[str, Bus | Radio] = {**self.bus, **self.radio}
        for name, medium in media.items():
            if medium.feeder and medium.feeder not in feeders:
                raise ValueError(
                    f"{'bus' if name in self.bus else 'radio'} {name} is on feeder "
                    f"{medium.feeder!r}, which is not declared"
                )
        addresses: set[int] = set()
        euis: dict[str, int] = {}
        units: dict[tuple[str, int], int] = {}
        for home in self.home:
            if home.address in addresses:
                raise ValueError(f"two homes have address {home.address}")
            addresses.add(home.address)
            if home.eui and euis.setdefault(home.eui, home.address) != home.address:
                raise ValueError(f"homes {euis[home.eui]} and {home.address} have the same EUI")
            if home.bus not in media:
                known = ", ".join(sorted(media)) or "none is declared"
                raise ValueError(
                    f"home {home.address} is on bus {home.bus!r}, which is not declared ({known})"
                )
            if home.feeder and home.feeder not in feeders:
                raise ValueError(
                    f"home {home.address} is on feeder {home.feeder!r}, which is not declared"
                )
            unit = (home.bus, home.address & 0xFF)
            if home.bus in self.bus and units.setdefault(unit, home.address) != home.address:
                raise ValueError(
                    f"homes {units[unit]} and {home.address} are both unit {unit[1]} on {home.bus}"
                )
        return self


def load(path: Path) -> Site:
    """Reads and validates a site file. Raises InputError naming every wrong key."""
    try:
        data = read_toml(path)
    except FileNotFoundError:
        raise InputError(
            f"There is no site file {path}.",
            "Write one (docs/commissioning.md), or:  pbal site import homes.csv",
        ) from None
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc}.", "Name another file.") from None
    except DocumentError as exc:
        raise InputError(f"{path} is broken: {exc}", "Correct that line.") from None
    return validate(data, str(path))


def validate(data: dict[str, Any], where: str) -> Site:
    """Validates plain data. Raises InputError naming every wrong key."""
    try:
        return Site.model_validate(data)
    except ValidationError as exc:
        lines = [f"{where}: {complaint(item, Site)}" for item in exc.errors()]
        raise InputError("\n      ".join(lines), "Correct the keys named above.") from None


def _rows(table: BaseModel, skip: set[str]) -> list[str]:
    data = table.model_dump(mode="json", exclude_defaults=True)
    return [
        f"{key} = {toml_value(value)}"
        for key, value in data.items()
        if key not in skip and value is not None and not isinstance(value, dict)
    ]


def dump(site: Site) -> str:
    """The site file's text."""
    out = ["# The site: what was built. Check it with `pbal site check`.", "[site]"]
    out += _rows(site.site, set())
    out += _transformer(site)
    for feeder in site.feeder:
        out += ["", "[[feeder]]", *_rows(feeder, set())]
    for name, bus in site.bus.items():
        out += ["", f"[bus.{toml_value(name)}]", *_rows(bus, set())]
    for name, radio in site.radio.items():
        out += ["", f"[radio.{toml_value(name)}]", *_rows(radio, set())]
    for home in site.home:
        out += ["", "[[home]]", *_rows(home, set())]
    return "\n".join(out) + "\n"


def _transformer(site: Site) -> list[str]:
    out: list[str] = []
    if site.transformer.rated_kva is not None:
        out += ["", "[transformer]", f"rated_kva = {site.transformer.rated_kva:g}"]
    if site.transformer.meter is not None:
        out += ["", "[transformer.meter]", *_rows(site.transformer.meter, set())]
    if site.transformer.residual != ResidualConfig():
        out += ["", "[transformer.residual]", *_rows(site.transformer.residual, set())]
    return out


def controller_toml(site: Site, keys: str, passphrase_file: str | None = None) -> str:
    """The controller's configuration for this site, as text."""
    out = ["# Generated from the site file by `pbal site controller`; change that one.", "[site]"]
    out += _rows(site.site, set())
    out += ["", "[keys]", f"file = {toml_value(keys)}"]
    if passphrase_file:
        out.append(f"passphrase_file = {toml_value(passphrase_file)}")
    out += _transformer(site)
    for name, bus in site.bus.items():
        out += ["", f"[bus.{toml_value(name)}]", *_rows(bus, {"feeder"})]
    for name, radio in site.radio.items():
        out += ["", f"[radio.{toml_value(name)}]", *_rows(radio, {"feeder"})]
    for home in site.home:
        out += ["", "[[home]]", f"address = {home.address}", f"bus = {toml_value(home.bus)}"]
        if home.name:
            out.append(f"name = {toml_value(home.name)}")
        if home.fixed:
            out.append("fixed = true")
        if home.fuse_a != DEFAULT_FUSE_A:
            out.append(f"fuse_a = {home.fuse_a:g}")
    return "\n".join(out) + "\n"
