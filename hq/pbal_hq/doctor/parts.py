"""What lies around the database: broker, tunnel, bus, lake, certificates, and the processes."""

from __future__ import annotations

import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

from pbal_host import Finding, Level
from pbal_hq import logstore, network, resources, roles
from pbal_hq.bus import Measured
from pbal_hq.ca import HQ, Pki, client_context
from pbal_hq.config import Config
from pbal_hq.errors import BusError, CertificateError, ConfigError, LakeError, LogsError
from pbal_hq.failover import APPLICATION, cluster_pki
from pbal_hq.metrics import facts
from pbal_hq.metrics.serve import folder

_OWN_DAYS = 60.0  # `init` renews HQ's own certificates so long before their end
_LIST_DAYS = 4.0
_MANY = 100_000  # records that a consumer has before it
_WAIT_S = 5.0
_SILENT = timedelta(hours=1)  # HQ and its sites together log more often


def certificates(config: Config) -> Iterator[Finding]:
    """HQ's own, the authority's, the revocation list, and that towards a database cluster."""
    now = datetime.now(UTC)
    left = facts.certificates_left(Pki(config.data / "pki"), now)
    if "authority" not in left:
        yield Finding("certificates", "error", "there is no authority", "pbal-hq init")
        return
    for name, seconds in left.items():
        warn = _LIST_DAYS if name == "revocation_list" else _OWN_DAYS
        remedy = "the role house renews it" if name == "revocation_list" else "pbal-hq init"
        what = f"that of {name}" if name in ("hq", "broker") else f"the {name.replace('_', ' ')}"
        yield _by_days("certificates", what, seconds / 86400, warn, remedy)
    cluster = cluster_pki(config.data)
    if cluster.exists():
        days = cluster.days_left(APPLICATION, now)
        remedy = "pbal-hq db cluster, as at first, and its files to the members"
        yield _by_days("certificates", "that towards the database", days, _OWN_DAYS, remedy)


def _by_days(check: str, what: str, days: float, warn: float, remedy: str) -> Finding:
    """Of something that ends in so many days; an error in the last quarter of `warn`."""
    if days <= 0:
        return Finding(check, "error", f"{what} has ended", remedy)
    level: Level = "error" if days < warn / 4 else "warning" if days < warn else "ok"
    return Finding(check, level, f"{what} is good for {days:.0f} days", remedy)


def broker(config: Config) -> Iterator[Finding]:
    """Whether it answers HQ's certificate with one of ours."""
    b, pki = config.broker, Pki(config.data / "pki")
    where = f"{b.host}:{b.port}"
    remedy = "does it run? mosquitto -c below data/broker; broker.host and broker.port"
    try:
        context = client_context(
            b.ca or pki.ca, b.certificate or pki.certificate(HQ), b.key or pki.key(HQ)
        )
        with (
            socket.create_connection((b.host, b.port), _WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=b.host) as made,
        ):
            # TLS 1.3: what a server thinks of our certificate, it says with its first answer. An
            # MQTT 5 PINGREQ before CONNECT ends the connection; one that refused us says an alert.
            made.settimeout(_WAIT_S)
            made.sendall(b"\xc0\x00")
            made.recv(1)
    except ssl.SSLError as error:
        yield Finding("broker", "error", f"{where}: {error.reason or error}", "pbal-hq init")
    except OSError as error:
        yield Finding("broker", "error", f"{where}: {error.strerror or error}", remedy)
    else:
        yield Finding("broker", "ok", f"{where} answers")


def tunnel(config: Config) -> Iterator[Finding]:
    """Whether the hub of the sites' tunnels is up, where sites have tunnels."""
    c = config.network
    if not c.endpoint:
        return
    files = config.data / "network"
    if not (files / "private.key").exists():
        yield Finding("tunnel", "error", "HQ has no key of the tunnels", "pbal-hq network init")
    elif not network.is_up(c):
        words = f"the interface {c.interface} is down: no site comes in through it"
        remedy = f"as root: wg-quick up {files / c.interface}.conf"
        yield Finding("tunnel", "error", words, remedy)
    else:
        yield Finding("tunnel", "ok", f"the interface {c.interface} is up")


async def bus(config: Config) -> AsyncIterator[Finding]:
    """Whether it can be read, and how far its consumers are behind."""
    try:
        async with resources.bus_of(config) as opened:
            lag = await opened.lag(roles.consumers(config)) if isinstance(opened, Measured) else {}
    except (BusError, ConfigError, CertificateError) as error:
        yield Finding("bus", "error", str(error), "pbal-hq check-config shows where it is")
        return
    worst = max(lag.items(), key=lambda item: item[1], default=(("", ""), 0))
    words = f"{config.bus.kind}; {worst[1]} records wait at most"
    if worst[1] > _MANY:
        words = f"{worst[0][0]} has {worst[1]} records of {worst[0][1]} before it"
        yield Finding("bus", "warning", words, f"does it run? start more of it: {worst[0][0]}")
    else:
        yield Finding("bus", "ok", words)


def lake(config: Config) -> Iterator[Finding]:
    """Whether its place is the lake, and can be opened with our keys."""
    if not config.lake.url:
        return
    try:
        roles.need_lake(config)
        from pbal_hq.lake import lake_of

        lake_of(config.lake).check()
    except (LakeError, ConfigError) as error:
        yield Finding("lake", "error", str(error), "docs/hq-lake.md")
    else:
        yield Finding("lake", "ok", config.lake.url)


def logs(config: Config) -> Iterator[Finding]:
    """Whether OpenSearch answers, knows how lines are indexed, and gets any."""
    if not config.logs.url:
        return
    try:
        with logstore.opened(config) as place:
            seen = place.look()
    except (LogsError, ConfigError) as error:
        yield Finding("logs", "error", str(error), "docs/hq-logs.md")
        return
    if not seen.known:
        yield Finding("logs", "error", "OpenSearch has no template for them", "pbal-hq logs set-up")
    if seen.status == "red":
        remedy = "its own log, and its disks: a part of the lines is not to be had"
        yield Finding("logs", "error", "OpenSearch is red", remedy)
    if seen.newest is None or (late := datetime.now(UTC) - seen.newest) > _SILENT:
        words = f"none since {seen.newest:%Y-%m-%d %H:%M}" if seen.newest else "none ever came"
        remedy = "does rsyslog run, with hq.conf of pbal-hq logs rsyslog? what does it log?"
        yield Finding("logs", "warning", words, remedy)
    elif seen.known and seen.status != "red":
        words = f"{seen.days} days of them; the newest line {late.total_seconds():.0f} s ago"
        yield Finding("logs", "ok", words)


def processes(config: Config) -> Iterator[Finding]:
    """Each process that was started here, by what it tells Prometheus."""
    files = sorted(folder(config).glob("hq-*.json"))
    if not files:
        yield Finding("processes", "warning", "none was ever started here", "pbal-hq all")
    for file in files:
        name = file.stem.removeprefix("hq-")
        try:
            address = str(json.loads(file.read_bytes())[0]["targets"][0])
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=_WAIT_S) as answer:
                text = answer.read().decode(errors="replace")
        except (OSError, ValueError, LookupError):
            words = f"{name} does not answer"
            yield Finding("processes", "error", words, f"start it; or, if not wanted, rm {file}")
            continue
        failing = re.findall(r'^pbal_hq_role_failing\{.*?role="([^"]+)".*?\} 1', text, re.M)
        if failing:
            words = f"{name}: {', '.join(failing)} does not work"
            remedy = f"curl http://{address}/healthz says why; its log did, once"
            yield Finding("processes", "error", words, remedy)
        else:
            yield Finding("processes", "ok", f"{name} runs")
