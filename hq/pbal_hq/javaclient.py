"""A client of Kafka in Java (Storm, Druid), by files on its computers: it holds no secret."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pbal_hq import kafkabus
from pbal_hq.config import Config
from pbal_hq.errors import ConfigError


@dataclass(frozen=True)
class Client:
    """A client of Kafka's in Java, by the files that every worker has."""

    servers: tuple[str, ...]
    user: str
    password: Path
    ca: Path
    certificate: Path
    key: Path

    def settings(self) -> dict[str, str]:
        """Its settings; secrets by reference. Raises ConfigError."""
        text = _read(self.password)
        if text != text.strip():
            raise ConfigError(
                f"{self.password}: Kafka's client in Java takes the file as it is: "
                "write the password without spaces and without the newline at its end (printf %s)"
            )
        if "BEGIN PRIVATE KEY" not in _read(self.key):
            raise ConfigError(f"{self.key}: Java needs a key in PKCS#8 (openssl pkcs8 -topk8)")
        login = "org.apache.kafka.common.security.scram.ScramLoginModule"
        return {
            "config.providers": "file",
            "config.providers.file.class":
                "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
            "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.jaas.config": f'{login} required username="{self.user}" '
                                f'password="{_of(self.password)}";',
            "ssl.enabled.protocols": "TLSv1.3", "ssl.protocol": "TLSv1.3",
            "ssl.truststore.type": "PEM", "ssl.truststore.certificates": _of(self.ca),
            "ssl.keystore.type": "PEM", "ssl.keystore.key": _of(self.key),
            "ssl.keystore.certificate.chain": _of(self.certificate),
        }  # fmt: skip


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _of(path: Path) -> str:
    """A reference to a file's content."""
    if set(str(path)) & set(":}"):
        raise ConfigError(f"{path}: Kafka's client in Java takes no path with a colon or a brace")
    return f"${{file:{path.parent}:{path.name}}}"


def client_of(config: Config) -> Client:
    """As the configuration describes it. Raises ConfigError."""
    kafka = config.bus.kafka
    if config.bus.kind != "kafka" or kafka.password_file is None:
        raise ConfigError('this reads the bus: it needs bus.kind = "kafka" (docs/hq-large.md)')
    return Client(kafka.servers, kafka.user, kafka.password_file, **kafkabus.files(config))
