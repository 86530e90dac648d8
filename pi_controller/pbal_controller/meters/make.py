"""The meter that the configuration asks for."""

from __future__ import annotations

from pbal_controller.bearers import Registers
from pbal_controller.bearers.rs485 import serial_registers
from pbal_controller.config import MeterConfig
from pbal_controller.meters.file import FileMeter
from pbal_controller.meters.modbus import ModbusMeter
from pbal_controller.meters.profile import Line, Profile
from pbal_controller.meters.profiles import load_profile
from pbal_controller.meters.reading import TransformerMeter


def profile_of(config: MeterConfig) -> Profile | None:
    """The profile of a meter on Modbus; None for a file. Raises ConfigError."""
    if config.kind == "file":
        return None
    # The kind of old configurations, before there were profiles.
    name = "sdm630" if config.kind == "sdm630" else config.profile
    return load_profile(name)


def line_of(config: MeterConfig, profile: Profile) -> Line:
    """How its port is set: as configured, else as the profile has it."""
    return Line(
        baud=config.baud or profile.line.baud,
        parity=config.parity or profile.line.parity,
        stop_bits=config.stop_bits or profile.line.stop_bits,
    )


def make_meter(config: MeterConfig, shared: Registers | None = None) -> TransformerMeter:
    """The meter that the configuration asks for; `shared`: the bus that it names.

    Raises ConfigError: there is no such profile.
    """
    profile = profile_of(config)
    if profile is None:
        assert config.path is not None
        return FileMeter(config.path, config.max_age_s)
    if not config.bus:
        line = line_of(config, profile)
        shared = serial_registers(config.port, line.baud, line.parity, line.stop_bits)
    assert shared is not None
    return ModbusMeter(profile, config.unit, shared, config.phases)
