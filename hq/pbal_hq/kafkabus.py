"""The bus over Kafka as the configuration describes it: certificates, user, password."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbal_hq.ca import HQ, Pki
from pbal_hq.config import Config, secret
from pbal_hq.errors import ConfigError

if TYPE_CHECKING:
    from pbal_hq.bus.kafka import KafkaBus


def settings(config: Config, user: str = "", password_file: Path | None = None) -> dict[str, Any]:
    """For clients of the cluster; by default as the configuration's user. Raises ConfigError."""
    if importlib.util.find_spec("confluent_kafka") is None:
        raise ConfigError("bus.kind is kafka, and its client is not installed: pbal[kafka]")
    from pbal_hq.bus.cluster import connection

    kafka = config.bus.kafka
    return connection(kafka, files(config), _password(password_file or kafka.password_file), user)


def files(config: Config) -> dict[str, Path]:
    """ca, certificate and key of our clients. Raises ConfigError where one is missing."""
    kafka, pki = config.bus.kafka, Pki(config.data / "pki")
    found = {
        "ca": kafka.ca or pki.ca,
        "certificate": kafka.certificate or pki.certificate(HQ),
        "key": kafka.key or pki.key(HQ),
    }
    for name, path in found.items():
        if not path.exists():
            raise ConfigError(f"bus.kafka.{name}: {path} is not there; pbal-hq init makes it")
    return found


def _password(path: Path | None) -> str:
    if path is None:
        raise ConfigError("bus.kafka.password_file is missing; add it")
    return secret(path, "bus.kafka.password_file")


def opened(config: Config) -> KafkaBus:
    """The bus, to be entered. Raises ConfigError."""
    made = settings(config)
    from pbal_hq.bus.kafka import KafkaBus

    return KafkaBus(made, config.bus.kafka.instance)
