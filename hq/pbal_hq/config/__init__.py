"""The configuration of HQ: its tables (tables), and how it is read (files)."""

from pbal_hq.config.files import DEFAULT_CONFIG, load
from pbal_hq.config.report import describe
from pbal_hq.config.tables import (
    BrokerConfig,
    BusConfig,
    Config,
    DatabaseConfig,
    EnrolConfig,
    IngestConfig,
    LogConfig,
    PortalConfig,
    StoreConfig,
    Table,
)

__all__ = [
    "DEFAULT_CONFIG",
    "BrokerConfig",
    "BusConfig",
    "Config",
    "DatabaseConfig",
    "EnrolConfig",
    "IngestConfig",
    "LogConfig",
    "PortalConfig",
    "StoreConfig",
    "Table",
    "describe",
    "load",
]
