"""Each machine's files, from `templates/`, with certificates of an authority of the cluster's own.

Sites have certificates of HQ's authority; none of those opens a door here. Nobody has a password:
members and HQ show a certificate, and PostgreSQL's superuser is reached on its own machine alone.
"""

from __future__ import annotations

import datetime
import secrets
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from urllib.parse import urlencode

from pbal_hq.ca import Authority, Pki, write_private, write_whole
from pbal_hq.errors import ConfigError
from pbal_hq.failover.members import Cluster, Member

APPLICATION = "pbal_hq"  # HQ's database, its user there, and the name in its certificate
STANZA = "pbal"
PATRONI_PORT = 8008  # who only asks needs no certificate
_DAYS = 825
# How long HQ waits for one member before it asks the next; its TCP gives a dead one up, too.
_CONNECT_S = 3
_GIVEN_UP_MS = 8000


@dataclass(frozen=True)
class Written:
    """What was written. `url`: for HQ's `database.url`. `secret`: the backups' key, or None."""

    files: tuple[Path, ...]
    url: str
    secret: Path | None


def cluster_pki(data: Path) -> Pki:
    """The cluster's authority, below HQ's `data`."""
    return Pki(data / "db-cluster")


def _database_url(cluster: Cluster, data: Path) -> str:
    """How HQ finds the primary, whichever it is."""
    pki = cluster_pki(data)
    how = {
        "target_session_attrs": "read-write", "sslmode": "verify-full",
        "sslrootcert": pki.ca, "sslcert": pki.certificate(APPLICATION),
        "sslkey": pki.key(APPLICATION), "connect_timeout": _CONNECT_S,
        "tcp_user_timeout": _GIVEN_UP_MS, "keepalives_idle": 5, "keepalives_interval": 2,
        "keepalives_count": 2,
    }  # fmt: skip
    hosts = ",".join(member.host for member in cluster.holders)
    return f"postgresql://{APPLICATION}@{hosts}/{APPLICATION}?{urlencode(how, safe='/')}"


def write(cluster: Cluster, data: Path, out: Path) -> Written:
    """Write OUT/NAME/ for each member, to be copied to its `place.etc`; HQ's own into `data`.

    Run again it makes certificates anew and keeps the authority and the backups' key.
    Raises ConfigError, CertificateError.
    """
    now = datetime.datetime.now(datetime.UTC)
    pki = cluster_pki(data)
    try:
        authority = pki.authority() if pki.exists() else pki.make("pbal database cluster", now)
        pki.write(APPLICATION, authority.client_with_key(APPLICATION, _DAYS, now))
        secret = _backup_key(data) if cluster.backups else None
        made: list[Path] = []
        for member in cluster.members:
            made += _member(cluster, member, authority, secret, out / member.name, now)
    except OSError as error:
        raise ConfigError(f"{error.filename or out}: {error.strerror}") from None
    return Written(tuple(made), _database_url(cluster, data), secret)


def _backup_key(data: Path) -> Path:
    """The file with the passphrase that backups are encrypted with: drawn once."""
    kept = cluster_pki(data).folder / "backup.key"
    if not kept.exists():
        write_private(kept, secrets.token_urlsafe(48).encode())
    return kept


def _member(
    cluster: Cluster, member: Member, authority: Authority, secret: Path | None, folder: Path,
    now: datetime.datetime,
) -> list[Path]:  # fmt: skip
    issued = authority.peer(member.name, (member.address, "localhost", "127.0.0.1"), _DAYS, now)
    values = _values(cluster, member, secret)
    names = ["etcd.yml", "pbal-db-etcd.service"]
    if not member.witness:
        names += ["patroni.yml", "first.sql", "pbal-db.service"]
        if secret is not None:
            names += ["pgbackrest.conf", "pbal-db-backup.service", "pbal-db-backup.timer"]
    write_whole(folder / "ca.crt", authority.pem)
    write_whole(folder / "member.crt", issued.pem)
    write_private(folder / "member.key", issued.key)
    for name in names:
        # The passphrase of backups stands in their configuration.
        private = name == "pgbackrest.conf"
        text = template(name).substitute(values)
        (write_private if private else write_whole)(folder / name, text.encode())
    return [folder / name for name in ("ca.crt", "member.crt", "member.key", *names)]


def template(name: str) -> Template:
    """A file of `templates/`."""
    folder = resources.files("pbal_hq.failover").joinpath("templates")
    return Template(folder.joinpath(name).read_text(encoding="utf-8"))


def _values(cluster: Cluster, member: Member, secret: Path | None) -> dict[str, object]:
    archive = (
        f"pgbackrest --config={member.place.etc}/pgbackrest.conf --stanza={STANZA} archive-push"
    )
    watchdog = cluster.watchdog
    return {
        "name": member.name, "host": member.host, "address": member.address,
        "etc": member.place.etc, "data": member.place.data, "run": member.place.run,
        "bin_dir": cluster.bin_dir, "database": APPLICATION, "stanza": STANZA,
        "patroni_port": PATRONI_PORT,
        "voters": ",".join(f"{m.name}=https://{m.host}:2380" for m in cluster.members),
        "voter_clients": ", ".join(f"'{m.host}:2379'" for m in cluster.members),
        "names": "\n".join(
            f"  - members {m.name} {user}" for m in cluster.holders
            for user in ("replicator", "rewinder")
        ),
        "archive_mode": "'on'" if secret else "'off'",
        "archive_command": f"'{archive} %p'" if secret else "''",
        "watchdog_mode": watchdog.mode, "watchdog_device": watchdog.device,
        "watchdog_driver": watchdog.driver or "default",
        "backups": cluster.backups or "", "secret": secret.read_text() if secret else "",
    }  # fmt: skip
