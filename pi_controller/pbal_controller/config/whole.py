"""The whole configuration, and whether its tables are consistent."""

from __future__ import annotations

import hashlib
import os
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from pbal_controller.bearers import Kind, Where, find
from pbal_controller.bearers.lora import RadioConfig, load_hat
from pbal_controller.bearers.rs485 import BusConfig
from pbal_controller.config.tables import (
    BearerConfig,
    DispatchConfig,
    HomeConfig,
    HttpConfig,
    JournalConfig,
    KeysConfig,
    LogConfig,
    PlannerConfig,
    PlausibilityConfig,
    PollingConfig,
    SecurityConfig,
    SiteConfig,
    StandbyConfig,
    TransformerConfig,
    UpdateConfig,
)
from pbal_controller.config.uplink import GatewayConfig, UplinkConfig
from pbal_controller.documents import dump_json
from pbal_controller.naming import Name
from pbal_host.tables import Table, dotted, remedy


class Config(Table):
    """The whole configuration."""

    site: SiteConfig
    # A gateway also publishes for sites without a link of their own; it may have homes or none.
    role: Literal["controller", "gateway"] = "controller"
    keys: KeysConfig = KeysConfig()
    journal: JournalConfig = JournalConfig()
    http: HttpConfig = HttpConfig()
    # RS-485 segments, LoRa radios, and bearers of any kind by name.
    bus: dict[Name, BusConfig] = Field(default_factory=dict)
    radio: dict[Name, RadioConfig] = Field(default_factory=dict)
    bearer: dict[Name, BearerConfig] = Field(default_factory=dict)
    home: tuple[HomeConfig, ...] = ()
    polling: PollingConfig = PollingConfig()
    planner: PlannerConfig = PlannerConfig()
    plausibility: PlausibilityConfig = PlausibilityConfig()
    dispatch: DispatchConfig = DispatchConfig()
    transformer: TransformerConfig = TransformerConfig()
    uplink: UplinkConfig = UplinkConfig()
    gateway: GatewayConfig | None = None
    update: UpdateConfig = UpdateConfig()
    security: SecurityConfig = SecurityConfig()
    standby: StandbyConfig | None = None
    log: LogConfig = LogConfig()

    def digest(self) -> str:
        """16 hex digits that change when anything in it does (SHA-256 of its JSON)."""
        text = dump_json(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def bearers(self) -> dict[str, tuple[Kind, BaseModel]]:
        """Every bearer by name: its kind, and the settings of that kind."""
        made: dict[str, tuple[Kind, BaseModel]] = {
            name: (find("rs485"), bus) for name, bus in self.bus.items()
        }
        made |= {
            name: (find("lora"), radio)
            for name, radio in self.radio.items()
            if name not in self.link_radios
        }
        for name, bearer in self.bearer.items():
            kind = find(bearer.kind)
            made[name] = kind, kind.settings.model_validate(bearer.model_extra or {})
        return made

    @property
    def link_radios(self) -> tuple[str, ...]:
        """The radios that carry summaries between sites, and no home."""
        own = (self.uplink.radio,) if self.uplink.kind == "lora" else ()
        return own if self.gateway is None else (*own, self.gateway.radio)

    @property
    def link_sites(self) -> tuple[int, ...]:
        """The sites for whose link between sites a key is needed."""
        own = (self.site.id,) if self.uplink.kind == "lora" else ()
        behind = () if self.gateway is None else tuple(each.site for each in self.gateway.site)
        return (*own, *behind)

    @property
    def sends_beacons(self) -> bool:
        """Whether a bearer of this site sends beacons."""
        return any(name not in self.link_radios for name in self.radio) or any(
            b.kind == "lora" for b in self.bearer.values()
        )

    def ways(self, home: HomeConfig) -> list[tuple[str, Where]]:
        """The paths to a home: bearer, and where on it the home is."""
        bearers = self.bearers()
        found = []
        for way in home.ways:
            kind, settings = bearers[way.bearer]
            found.append((way.bearer, kind.locate(settings, home.address, way.at)))
        return found

    @model_validator(mode="after")
    def _references(self) -> Config:
        _check(self)
        return self


def _check(config: Config) -> None:
    """Raises ValueError that names what does not fit, and what to do."""
    _gateway(config)
    _bearers(config)
    _ports(config, _homes(config))
    if config.standby is not None:
        _standby(config)


def _gateway(config: Config) -> None:
    """The role, and the radios of links."""
    given = config.gateway
    if (config.role == "gateway") != (given is not None):
        raise ValueError(
            'role "gateway" and a table [gateway] with radio and [[gateway.site]] belong together; '
            "write both or neither"
        )
    if given is not None and config.uplink.kind != "sparkplug":
        raise ValueError(
            'role "gateway" needs uplink.kind = "sparkplug": it publishes for the sites behind it'
        )
    for key, name in (
        ("uplink.radio", config.uplink.radio if config.uplink.kind == "lora" else ""),
        ("gateway.radio", given.radio if given is not None else ""),
    ):
        if name and name not in config.radio:
            names = ", ".join(sorted(config.radio)) or "none is declared"
            raise ValueError(
                f'{key} "{name}" is not declared (known: {names}); add a table [radio.{name}]'
            )
        for home in config.home:
            if name and any(way.bearer == name for way in home.ways):
                raise ValueError(
                    f"home {home.address} is on radio {name}, which is {key}; the link needs a "
                    "radio of its own"
                )
    if given is not None and any(each.site == config.site.id for each in given.site):
        raise ValueError(f"gateway.site {config.site.id} is this site itself; leave it out")


def _device(port: str) -> str:
    """A key that is equal for two names of one serial device (a link in /dev/serial/by-id, say)."""
    return os.path.realpath(port) if port.startswith("/") else port.lower()


def _bearers(config: Config) -> None:
    radios = [name for name in config.radio if name not in config.link_radios]
    if not (config.bus or radios or config.bearer) and config.role != "gateway":
        raise ValueError(
            "no bearer is declared; add a table [bus.NAME] with the port of an RS-485 segment, or "
            "[radio.NAME] with a region"
        )
    _hats(config)
    for name, bearer in config.bearer.items():
        if name in config.bus or name in config.radio:
            what = "bus" if name in config.bus else "radio"
            raise ValueError(f"{what} {name} and bearer {name} have one name; rename one")
        try:
            kind = find(bearer.kind)
            kind.settings.model_validate(bearer.model_extra or {})
        except ValidationError as error:
            found = (
                f"{dotted(('bearer', name, *item['loc']))}: {remedy(item, kind.settings)}"
                for item in error.errors(include_url=False)
            )
            raise ValueError("; ".join(found)) from None
        except ValueError as error:
            raise ValueError(f"bearer.{name}: {error}") from None


def _standby(config: Config) -> None:
    """The lease lies on the RS-485 buses alone, and the homes are its quorum (docs/standby.md)."""
    others = [name for name, (kind, _) in config.bearers().items() if kind.name != "rs485"]
    if others:
        raise ValueError(
            f"standby: bearer {', '.join(sorted(others))} is no RS-485 bus; a second controller "
            "can stand by only where all homes are on RS-485. Take [standby] out, or move its homes"
        )
    if config.planner.min_fresh_share <= 0.5:
        raise ValueError(
            "standby: planner.min_fresh_share must be above 0.5, so that never both halves of a "
            f"cut pair are enough to plan with; it is {config.planner.min_fresh_share:g}"
        )
    for name, bus in config.bus.items():
        if "://" in bus.port:
            raise ValueError(
                f"standby: bus.{name}.port is {bus.port}; a lease needs a serial port of this "
                "computer, on which it hears every byte"
            )


def _hats(config: Config) -> None:
    pins: dict[tuple[int, int], str] = {}
    channels: dict[tuple[str, int], str] = {}
    for name, radio in config.radio.items():
        if name in config.bus:
            raise ValueError(f"bus {name} and radio {name} have one name; rename one")
        try:
            hat = load_hat(radio.hat)
            for hz, _bw_hz in (radio.up, radio.down):
                hat.check_band(hz)
        except ValueError as error:
            raise ValueError(f"radio.{name}.hat: {error}") from None
        other = pins.setdefault((hat.spi, hat.cs), name)
        if other != name:
            raise ValueError(
                f"radio {other} and radio {name} are on one chip select; give each its own hat"
            )
        other = channels.setdefault((radio.region, radio.channel), name)
        if other != name:
            taken = {each.channel for each in config.radio.values() if each.region == radio.region}
            free = [str(n) for n in range(len(radio.plan.up)) if n not in taken]
            left = f"free are {', '.join(free)}" if free else f"{radio.region} has no other left"
            raise ValueError(
                f"radio {other} and radio {name} are both on channel {radio.channel} of "
                f"{radio.region}, and would destroy each other's frames; {left}"
            )


def _homes(config: Config) -> set[tuple[str, Where]]:
    """Checks the homes' addresses and paths; returns the places in use."""
    known = config.bearers()
    seen: set[int] = set()
    places: set[tuple[str, Where]] = set()
    for index, home in enumerate(config.home):
        for way in home.ways:
            if way.bearer not in known:
                names = ", ".join(sorted(known)) or "none is declared"
                what = "bus" if home.bus is not None else "bearer"
                raise ValueError(
                    f'home {home.address} is on {what} "{way.bearer}", which is not declared '
                    f"(known: {names}); add a table [{what}.{way.bearer}] or correct the home"
                )
        if home.address in seen:
            raise ValueError(f"two homes have address {home.address}; addresses are unique")
        seen.add(home.address)
        for way in home.ways:
            kind, settings = known[way.bearer]
            try:
                place = way.bearer, kind.locate(settings, home.address, way.at)
            except ValueError as error:
                raise ValueError(f"home[{index}] (address {home.address}): {error}") from None
            if place in places:
                if kind.name == "rs485":
                    raise ValueError(
                        f"two homes on bus {way.bearer} have unit {place[1]}; "
                        "use another bus or another unit"
                    )
                raise ValueError(f"two homes are at {place[1]} on bearer {way.bearer}")
            places.add(place)
    _bridges(places)
    return places


def _bridges(places: set[tuple[str, Where]]) -> None:
    for bearer, place in places:
        bridge = getattr(place, "bridge", None)
        if bridge is not None and (bearer, bridge) not in places:
            home = getattr(place, "address", place)
            raise ValueError(
                f"home {home} is behind bridge {bridge}, which is no home on bearer {bearer}; add "
                "a [[home]] for the bridge, as it is one, or correct at"
            )


def _ports(config: Config, places: set[tuple[str, Where]]) -> None:
    ports: dict[str, str] = {}
    buses = {
        name: settings
        for name, (_, settings) in config.bearers().items()
        if isinstance(settings, BusConfig)
    }
    for name, bus in buses.items():
        other = ports.setdefault(_device(bus.port), name)
        if other != name:
            raise ValueError(
                f"bus {other} and bus {name} are on one port, {bus.port}; each bus needs its "
                "own adapter"
            )
    meter = config.transformer.meter
    if meter is not None and meter.port and _device(meter.port) in ports:
        name = ports[_device(meter.port)]
        raise ValueError(
            f'transformer.meter.port is the port of bus {name}; write bus = "{name}" in its place'
        )
    if meter is not None and meter.bus:
        if meter.bus not in buses:
            raise ValueError(
                f'transformer.meter.bus "{meter.bus}" is not declared as an RS-485 bus'
            )
        if (meter.bus, meter.unit) in places:
            raise ValueError(
                f"transformer.meter.unit {meter.unit} is the unit of a home on the same bus"
            )
