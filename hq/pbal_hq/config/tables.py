"""The configuration of HQ: one table for each part, with its bounds and defaults."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from pbal_hq.config.base import Port, PortalUrl, Seconds, Table, TopicId, is_conninfo, is_private
from pbal_hq.config.notices import NotifyConfig


class LogConfig(Table):
    """What is logged to standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class LogsConfig(Table):
    """Logs of HQ and of all sites in OpenSearch (docs/hq-logs.md)."""

    # "" is none. HTTPS but on this computer; without user and password in it.
    url: Annotated[str, Field(pattern=r"^(https?://[^\s/@]+)?$")] = ""
    # Default: the authority that `pbal-hq init` made.
    ca: Path | None = None
    # Who reads, and drops what is too old; and who adds lines. No user is asked for without a file.
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "pbal-hq-logs"
    password_file: Path | None = None
    ship_user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "pbal-rsyslog"
    ship_password_file: Path | None = None
    # Indices are INDEX-2026.11.29: the day on which a line came, in UTC.
    index: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] = "pbal-logs"
    keep_days: int = Field(default=60, ge=1, le=3660)
    # Copies of each index on other nodes.
    replicas: int = Field(default=0, ge=0, le=9)
    # Where HQ's rsyslog takes the sites' lines (RELP in TLS), in the tunnel.
    port: Port = 2514
    # How much may wait on HQ's disk while OpenSearch is away, and on a Pi's while HQ is.
    queue_mb: int = Field(default=4000, ge=50, le=1_000_000)
    site_queue_mb: int = Field(default=200, ge=10, le=100_000)

    @model_validator(mode="after")
    def _private(self) -> LogsConfig:
        if self.url and not is_private(self.url):
            raise ValueError("`url` begins with https://")
        return self


class DatabaseConfig(Table):
    """PostgreSQL 15 or newer, with TimescaleDB or without."""

    # A libpq connection string or URL; a password belongs into ~/.pgpass or a variable.
    url: str = "postgresql:///pbal_hq"
    pool_max: int = Field(default=10, ge=1, le=200)
    # How long a request waits for a connection.
    timeout_s: Seconds = 10.0
    # Prepared statements; false behind a pooler that keeps none (PgBouncer before 1.21 in
    # transaction mode).
    prepared: bool = True

    @model_validator(mode="after")
    def _readable(self) -> DatabaseConfig:
        if not is_conninfo(self.url):  # its words are not said: they may hold a password
            raise ValueError("`url` is no connection string, such as postgresql:///pbal_hq")
        return self


class BrokerConfig(Table):
    """The MQTT broker, and HQ's own certificate towards it."""

    host: str = "localhost"
    port: Port = 8883
    # Sparkplug's id of this host application: its STATE topic.
    host_id: TopicId = "hq"
    # Default: the files that `pbal-hq init` makes below `data`.
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    keepalive_s: int = Field(default=60, ge=5, le=3600)
    # The broker's process, which takes a new revocation list on SIGHUP. None: the file that the
    # configuration of `pbal-hq init` has the broker write.
    pid_file: Path | None = None
    # Instead of a signal to the process in pid_file, e.g. "systemctl reload mosquitto".
    reload_command: tuple[str, ...] = ()


class EnrolConfig(Table):
    """Where sites fetch and renew their certificates (docs/hq.md)."""

    listen: str = "0.0.0.0"
    port: Port | Literal[0] = 8884
    # Where sites reach the broker; default: as HQ does (broker.host).
    broker_host: str = ""
    # How long a one-time token is good, and a certificate.
    token_hours: float = Field(default=72.0, gt=0, le=24 * 30)
    certificate_days: int = Field(default=90, ge=1, le=825)
    # Attempts from one address in a minute.
    attempts_per_minute: int = Field(default=20, ge=1, le=10_000)


class ChirpstackConfig(Table):
    """ChirpStack's MQTT integration, for sites over LoRaWAN (docs/gateway.md)."""

    # The broker that ChirpStack publishes to; "" is none.
    host: str = ""
    port: Port = 8883
    # ChirpStack's id of the application; "" is every one that the certificate may read.
    application: str = Field(default="", pattern=r"^[0-9a-f-]{0,36}$")
    # Sites of this group are its devices, and their node is the DevEUI.
    group: TopicId = "lorawan"
    # That broker's authority, and HQ's certificate towards it.
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    # A site that was silent for so long is offline.
    silent_s: Seconds = 10_800.0

    @model_validator(mode="after")
    def _whole(self) -> ChirpstackConfig:
        if self.host and (self.ca is None or self.certificate is None or self.key is None):
            raise ValueError("ChirpStack's broker needs `ca`, `certificate` and `key`, too")
        return self


class KafkaConfig(Table):
    """The bus over Kafka (docs/hq-large.md)."""

    # Some of the brokers, as HOST:PORT; the others are found through them.
    servers: tuple[Annotated[str, Field(pattern=r"^[^\s:,]+:\d{1,5}$")], ...] = ()
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "pbal-hq"
    password_file: Path | None = None
    # Default: HQ's own certificate, and the authority that `pbal-hq init` made.
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    # A name that this process has at every start, and no other: what it had begun when it was
    # killed is then ended at once, otherwise after ten seconds. "": none.
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,64}$")] = ""
    # Of each topic, when `pbal-hq bus set-up` makes it: so many consumers of a role can share it.
    partitions: int = Field(default=12, ge=1, le=1000)
    replicas: int = Field(default=3, ge=1, le=9)
    keep_days: float = Field(default=7.0, gt=0, le=3660)


class BusConfig(Table):
    """The bus between the roles: a file below `data`, on one computer; or Kafka."""

    kind: Literal["file", "kafka"] = "file"
    kafka: KafkaConfig = KafkaConfig()
    # What every consumer has read is kept for so long, for inspection.
    keep_hours: float = Field(default=2.0, ge=0, le=24 * 30)
    # The broker gets no acknowledgement when the bus has less free space than this.
    min_free_mb: int = Field(default=200, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _whole(self) -> BusConfig:
        if self.kind == "kafka" and not self.kafka.servers:
            raise ValueError('a bus of kind kafka needs `kafka.servers`, e.g. ["broker-1:9094"]')
        if self.kind == "kafka" and self.kafka.password_file is None:
            raise ValueError("a bus of kind kafka needs `kafka.password_file`")
        return self


class IngestConfig(Table):
    """The Sparkplug host application."""

    # A message that is missing from a site's sequence is waited for so long.
    reorder_s: Seconds = 5.0
    # Pauses between requests for a rebirth of the same site: they double from first to last.
    rebirth_first_s: Seconds = 10.0
    rebirth_last_s: Seconds = 3600.0
    # Storage is acknowledged to a site after so many of its messages, and no later than this.
    stored_batch: int = Field(default=12, ge=1, le=1000)
    stored_within_s: Seconds = 3600.0
    # What is refused is kept, per site, up to so many.
    dead_per_site: int = Field(default=1000, ge=1, le=1_000_000)


class ControllerTarget(Table):
    """A site's controller that Prometheus can reach, through the tunnel for example."""

    site: int = Field(ge=0, le=4_294_967_295)
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\[\]-]+:[0-9]{1,5}$")]


class MetricsConfig(Table):
    """What each process of HQ says about itself to Prometheus (docs/hq-monitoring.md)."""

    listen: str = "127.0.0.1"
    # Of `pbal-hq all`; of a process with some roles it is higher. 0: any free port.
    port: Annotated[int, Field(ge=1, le=65_000)] | Literal[0] = 9631
    # Where Prometheus finds who is to be asked; default: metrics below `data`.
    targets: Path | None = None
    controllers: tuple[ControllerTarget, ...] = ()


class BackupConfig(Table):
    """What `pbal-hq doctor` is told of the database's backups (docs/hq-reliability.md)."""

    # Prints `pgbackrest info --output=json`, through sudo or ssh where needed; () is nothing.
    info: tuple[str, ...] = ()
    # The newest is late when it is older than so many hours.
    late_h: float = Field(default=30.0, gt=0, le=24 * 365)


class StandbyConfig(Table):
    """Roles that other processes are there for, too (docs/hq-reliability.md)."""

    # Of these each runs in one process at a time; the others wait.
    roles: tuple[str, ...] = ()
    # One that says nothing for so long is followed by another.
    takeover_s: float = Field(default=10.0, ge=2, le=600)


class NetworkConfig(Table):
    """Tunnels from the sites to HQ (docs/hq-network.md)."""

    # Under which sites reach this computer; "" is no tunnel.
    endpoint: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{0,253}$")] = ""
    port: Port = 51820  # UDP
    interface: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,14}$")] = "pbal-hq"
    # Addresses within; HQ has the first. A /16 is for 65,000 sites; an IPv6 prefix for more.
    prefix: str = "10.77.0.0/16"
    # TCP ports of HQ for sites besides broker and enrolment; those of a site for HQ.
    more_ports: tuple[Port, ...] = ()
    site_ports: tuple[Port, ...] = ()
    # Broker and enrolment cannot be reached past the tunnel, but from these addresses or networks.
    only_tunnel: bool = True
    direct_from: tuple[str, ...] = ()
    # What stands before `wg` where HQ's commands do not run as root, e.g. ["sudo", "-n"].
    as_root: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> NetworkConfig:
        if self.network.num_addresses < 4:
            raise ValueError("`prefix` has no room for sites")
        for each in self.direct_from:
            ip_network(each)
        return self

    @property
    def network(self) -> IPv4Network | IPv6Network:
        """The prefix. Raises ValueError."""
        return ip_network(self.prefix)

    @property
    def hub(self) -> str:
        """HQ's address within."""
        return str(self.network[1])


class StoreConfig(Table):
    """How long each kind of data is kept."""

    raw_days: int = Field(default=90, ge=2, le=3660)
    hourly_days: int = Field(default=1830, ge=7, le=36_600)
    # What sites told of single homes, and the alarms that came of it.
    event_days: int = Field(default=1830, ge=30, le=36_600)
    # TimescaleDB: "auto" uses it where the server has it, "never" does not.
    timescale: Literal["auto", "never"] = "auto"
    # Whether rows go in by COPY; false for what speaks PostgreSQL's protocol without it.
    copy_rows: bool = True


class LakeConfig(Table):
    """The data lake: Parquet files of all that is reported (docs/hq-lake.md)."""

    # A folder or mount point (/srv/lake, file:///srv/lake), hdfs://NAMENODE:8020/lake or
    # webhdfs://USER@NAMENODE:9870/lake. "" is none.
    url: str = ""
    # The keys it is encrypted with; or systemd's credential pbal-lake-keys.
    key_file: Path | None = None
    # What has come is written after so many seconds, or rows.
    flush_s: Seconds = 300.0
    flush_rows: int = Field(default=200_000, ge=1, le=10_000_000)
    # A day's hours become one file so long after its end.
    compact_after_h: float = Field(default=6.0, ge=0, le=24 * 30)
    # 0: for ever.
    keep_days: int = Field(default=0, ge=0, le=36_600)

    @model_validator(mode="after")
    def _place(self) -> LakeConfig:
        parts = urlsplit(self.url)
        local = parts.scheme in ("", "file") and not parts.netloc
        remote = parts.scheme in ("hdfs", "webhdfs") and bool(parts.hostname)
        if self.url and not ((local or remote) and parts.path.strip("/") and parts.path[0] == "/"):
            raise ValueError(
                "`url` is a folder (/srv/lake), hdfs://NAMENODE:8020/FOLDER or "
                "webhdfs://USER@NAMENODE:9870/FOLDER"
            )
        return self


class DruidConfig(Table):
    """Apache Druid, which answers long-range questions (docs/hq-large.md)."""

    # Where it answers SQL, and where it takes tasks; "": there is none.
    broker: Annotated[str, Field(pattern=r"^(https?://[^\s/]+)?$")] = ""
    coordinator: Annotated[str, Field(pattern=r"^(https?://[^\s/]+)?$")] = ""
    source: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = "hq_summary"
    keep_days: int = Field(default=3660, ge=1, le=36_600)
    # For corrections: a folder that HQ writes and Druid's indexers read, as a mount has it.
    folder: Path | None = None

    @model_validator(mode="after")
    def _whole(self) -> DruidConfig:
        if bool(self.broker) != bool(self.coordinator):
            raise ValueError("`broker` and `coordinator` are given both or neither")
        return self


class AlarmsConfig(Table):
    """What detectors compare with (docs/hq-portal.md)."""

    # Switchings a day that a home's relays are planned for: the budget of the sites' planners.
    plan_switchings_per_day: float = Field(default=3.0, gt=0, le=100)
    # Where the detectors over windows run: in the portal, or in Storm (docs/hq-large.md).
    detectors: Literal["portal", "storm"] = "portal"
    # An alarm that nobody acknowledged is escalated after so many minutes, and again.
    escalate_after_min: tuple[Annotated[float, Field(gt=0, le=10_080)], ...] = (30.0, 240.0)


class PortalConfig(Table):
    """The portal and its API: pages for people (docs/hq-portal.md)."""

    listen: str = "127.0.0.1"
    port: Port | Literal[0] = 8443
    # TLS of its own; without them a reverse proxy on this computer does it.
    certificate: Path | None = None
    key: Path | None = None
    # Addresses whose X-Forwarded-For and X-Forwarded-Proto are trusted.
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    # Cookies also go over plain HTTP: for a demonstration on one computer, never in a network.
    plain_http: bool = False
    # The master secret of logins and stored second factors; default: portal.secret below `data`.
    secret_file: Path | None = None
    # The key that signs orders to sites; default: command.key below `data`.
    command_key: Path | None = None


class OidcConfig(Table):
    """An OpenID Connect provider at which users may log in (docs/hq-portal.md)."""

    # "" is none. As in its discovery document; HTTPS but on this computer.
    issuer: str = ""
    client_id: str = ""
    client_secret_file: Path | None = None
    # Where browsers reach the portal: the provider sends them back to PORTAL/login/provider/back.
    portal_url: PortalUrl = ""
    scopes: tuple[str, ...] = ("openid", "profile")
    # The claim that holds the name of HQ's user.
    name_claim: str = "preferred_username"
    label: str = Field(default="the utility's login", max_length=60)

    @model_validator(mode="after")
    def _whole(self) -> OidcConfig:
        if self.issuer:
            if not is_private(self.issuer):
                raise ValueError("`issuer` begins with https://")
            if not self.client_id or not self.portal_url:
                raise ValueError("a provider needs `client_id` and `portal_url`, too")
        return self


class Config(Table):
    """All of it."""

    # Certificates, the broker's configuration, the bus.
    data: Path = Path("/var/lib/pbal-hq")
    log: LogConfig = LogConfig()
    logs: LogsConfig = LogsConfig()
    database: DatabaseConfig = DatabaseConfig()
    broker: BrokerConfig = BrokerConfig()
    chirpstack: ChirpstackConfig = ChirpstackConfig()
    enrol: EnrolConfig = EnrolConfig()
    bus: BusConfig = BusConfig()
    ingest: IngestConfig = IngestConfig()
    store: StoreConfig = StoreConfig()
    lake: LakeConfig = LakeConfig()
    druid: DruidConfig = DruidConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    metrics: MetricsConfig = MetricsConfig()
    network: NetworkConfig = NetworkConfig()
    notify: NotifyConfig = NotifyConfig()
    oidc: OidcConfig = OidcConfig()
    portal: PortalConfig = PortalConfig()
    standby: StandbyConfig = StandbyConfig()
    backup: BackupConfig = BackupConfig()

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.alarms.detectors == "storm" and self.bus.kind != "kafka":
            raise ValueError('alarms.detectors = "storm" needs bus.kind = "kafka"')
        return self
