"""The settings of one radio, and where a home is on it. Loads no driver."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from pbal_controller.bearers.base import Where
from pbal_host.tables import Table
from pbal_protocol.errors import FieldError, ForbiddenError, RangeError
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.budget import Budget
from pbal_protocol.radio.plans import Plan

# Bytes of the longest answer of a node: every record beside a reading.
ANSWER_BYTES = 110
# After a frame of its own a node listens again, s.
TURN_S = 0.02
# ERP to EIRP: an antenna on the roof of a case adds this much, dB.
_ANTENNA_DB = 2.15
# The slowest factor at which a node's question for the time is answered while it counts (5 s).
SLOWEST = 11


class RadioConfig(Table):
    """One radio and its channel. `region` is a plan of docs/radio-plans.md."""

    region: str
    # Number of the channel in the region's plan; neighbouring sites take different ones.
    channel: int = Field(default=0, ge=0, le=63)
    # Spreading factor of beacons and commands: what the farthest home needs. Homes that are nearer
    # answer with a faster one.
    sf: int = Field(default=9, ge=7, le=SLOWEST)
    # The driver makes 5 to 17.
    power_dbm: int = Field(default=14, ge=5, le=17)
    antenna_dbi: float = Field(default=_ANTENNA_DB, ge=-10, le=15)
    driver: Literal["rfm9x", "pylora"] = "rfm9x"
    # A file of boards/hats by its name, or the path of one.
    hat: str = Field(default="adafruit-rfm95w-bonnet", max_length=4096)
    # Gap between two frames: what a node may be late, and both clocks drift.
    guard_ms: float = Field(default=12.0, ge=2, le=120)
    # A node begins to answer a command within this long or is taken for silent this time.
    answer_timeout_ms: float = Field(default=250.0, ge=20, le=2000)
    # Homes that are sent a frame in one round, at most; more while homes join.
    exchanges: int = Field(default=2, ge=1, le=32)
    # No round is shorter.
    round_s: float = Field(default=1.0, ge=0.5, le=600)
    # A round waits so long at most while another site on the channel has its turn; 0: it does not.
    give_way_s: float = Field(default=30.0, ge=0, le=300)
    # Frames that wait to be processed; more are dropped and counted.
    queue: int = Field(default=64, ge=4, le=4096)

    @property
    def plan(self) -> Plan:
        """The region's rules."""
        return Plan(self.region)

    @property
    def up(self) -> tuple[int, int]:
        """The homes' channel: centre and bandwidth, Hz."""
        return self.plan.up[self.channel]

    @property
    def down(self) -> tuple[int, int]:
        """The channel of beacons and commands."""
        down = self.plan.down
        return down[self.channel % len(down)]

    @model_validator(mode="after")
    def _allowed(self) -> RadioConfig:
        try:
            plan = self.plan
            if self.channel >= len(plan.up):
                raise ValueError(
                    f"channel {self.channel}: {plan.name} has 0 to {len(plan.up) - 1} "
                    "(docs/radio-plans.md)"
                )
            eirp_cdbm = round(100 * (self.power_dbm + self.antenna_dbi))
            for hz, bw_hz in (self.up, self.down):
                plan.check_power(hz, bw_hz, eirp_cdbm)
                band = plan.band(hz, bw_hz)
                us = time_on_air_us(ANSWER_BYTES, self.sf, bw_hz)
                if band.dwell_us and us > band.dwell_us:
                    raise ValueError(
                        f"sf {self.sf}: an answer takes {us / 1000:.0f} ms, and {plan.name} allows "
                        f"{band.dwell_us // 1000} at a time; use a lower sf"
                    )
                Budget(plan, ((hz, bw_hz),))
        except (FieldError, ForbiddenError, RangeError) as error:
            raise ValueError(str(error)) from None
        return self


class Behind(NamedTuple):
    """The place of a wired home that a bridge carries: the addresses of both."""

    address: int
    bridge: int

    def __str__(self) -> str:
        return f"{self.address} behind bridge {self.bridge}"


def locate(settings: RadioConfig, address: int, at: object) -> Where:
    """A home's place on a radio is its site address, behind a bridge also the bridge's: `at`."""
    if at is None or at == address:
        return address
    if not isinstance(at, int) or not 1 <= at <= 0xFFFF:
        raise ValueError(
            f"at = {at!r}: over a radio a home is found by its address; leave at out, or give the "
            "address of the bridge that carries it"
        )
    return Behind(address, at)
