"""The configuration of HQ: its tables (tables), and how it is read (files)."""

from pbal_hq.config.files import DEFAULT_CONFIG, load
from pbal_hq.config.report import describe
from pbal_hq.config.tables import (
    AlarmsConfig,
    BrokerConfig,
    BusConfig,
    Config,
    ControllerTarget,
    DatabaseConfig,
    EnrolConfig,
    IngestConfig,
    LogConfig,
    MetricsConfig,
    NetworkConfig,
    NotifyConfig,
    OidcConfig,
    PortalConfig,
    RouteConfig,
    SmtpConfig,
    StoreConfig,
    Table,
)

__all__ = [
    "DEFAULT_CONFIG",
    "AlarmsConfig",
    "BrokerConfig",
    "BusConfig",
    "Config",
    "ControllerTarget",
    "DatabaseConfig",
    "EnrolConfig",
    "IngestConfig",
    "LogConfig",
    "MetricsConfig",
    "NetworkConfig",
    "NotifyConfig",
    "OidcConfig",
    "PortalConfig",
    "RouteConfig",
    "SmtpConfig",
    "StoreConfig",
    "Table",
    "describe",
    "load",
]
