"""The controller's configuration: tables with bounds, files, error messages with a remedy."""

from pbal_controller.bearers.rs485 import BusConfig
from pbal_controller.config.files import load, source_of
from pbal_controller.config.report import describe
from pbal_controller.config.tables import (
    DEFAULT_FUSE_A,
    DispatchConfig,
    HomeConfig,
    HttpConfig,
    JournalConfig,
    LogConfig,
    MeterConfig,
    PlannerConfig,
    PlausibilityConfig,
    PollingConfig,
    ResidualConfig,
    SecurityConfig,
    SiteConfig,
    StandbyConfig,
    TransformerConfig,
    UpdateConfig,
)
from pbal_controller.config.uplink import GatewayConfig, GatewaySite, LorawanConfig, UplinkConfig
from pbal_controller.config.whole import Config
from pbal_host.tables import Table

__all__ = [
    "DEFAULT_FUSE_A",
    "BusConfig",
    "Config",
    "DispatchConfig",
    "GatewayConfig",
    "GatewaySite",
    "HomeConfig",
    "HttpConfig",
    "JournalConfig",
    "LogConfig",
    "LorawanConfig",
    "MeterConfig",
    "PlannerConfig",
    "PlausibilityConfig",
    "PollingConfig",
    "ResidualConfig",
    "SecurityConfig",
    "SiteConfig",
    "StandbyConfig",
    "Table",
    "TransformerConfig",
    "UpdateConfig",
    "UplinkConfig",
    "describe",
    "load",
    "source_of",
]
