"""What the controller can be told: tables with bounds, files, complaints with a remedy."""

from pbal_controller.config.files import load, source_of
from pbal_controller.config.report import describe
from pbal_controller.config.tables import (
    DEFAULT_FUSE_A,
    BusConfig,
    Config,
    DispatchConfig,
    HomeConfig,
    HttpConfig,
    LogConfig,
    MeterConfig,
    PlannerConfig,
    PlausibilityConfig,
    PollingConfig,
    SecurityConfig,
    SiteConfig,
    TransformerConfig,
    UpdateConfig,
    UplinkConfig,
)

__all__ = [
    "DEFAULT_FUSE_A",
    "BusConfig",
    "Config",
    "DispatchConfig",
    "HomeConfig",
    "HttpConfig",
    "LogConfig",
    "MeterConfig",
    "PlannerConfig",
    "PlausibilityConfig",
    "PollingConfig",
    "SecurityConfig",
    "SiteConfig",
    "TransformerConfig",
    "UpdateConfig",
    "UplinkConfig",
    "describe",
    "load",
    "source_of",
]
