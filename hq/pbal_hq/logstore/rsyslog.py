"""rsyslog's configuration at HQ and on a Pi, from `templates/` (docs/hq-logs.md).

    controller -> journal -> rsyslog of the Pi -- RELP in TLS in the tunnel --> rsyslog of HQ
    HQ's roles -> journal ---------------------------------------------------> rsyslog of HQ
    rsyslog of HQ -- bulks in HTTPS --> OpenSearch

A site is known by its address in the tunnel: WireGuard lets no other use it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from pbal_hq.ca import BROKER, Pki
from pbal_hq.config import Config, secret
from pbal_hq.errors import ConfigError
from pbal_hq.network import Peer

# Fields of the controller's lines that leave the site. Numbers of homes, never their names; no
# address in a house, no reason of a command, no measured value.
SITE_FIELDS = (
    "trace", "kind", "home", "why", "remedy", "bearer", "bus", "loop", "state", "step", "version",
    "command", "generation", "count", "homes", "region", "modem", "radio", "not_shown",
)  # fmt: skip
# Those that have a place of their own in a document (template.json), by the name in a line.
PLACED = {"trace": "trace", "kind": "event", "home": "home"}
# Fields of HQ's own lines; a traceback, where something failed.
HQ_FIELDS = (
    "trace", "kind", "home", "alarm", "why", "error", "port", "node", "host", "until", "route",
    "roles", "path", "address", "not_shown", "traceback",
)  # fmt: skip
SITES = "log-sites.json"
UNKNOWN = "unknown"
# Where Debian's rsyslog keeps what it must not forget.
SPOOL = Path("/var/spool/rsyslog")
SITE_PKI = Path("/etc/pbal")


class _Template(Template):
    """rsyslog's own names begin with a dollar."""

    delimiter = "@"


def _template(name: str) -> _Template:
    folder = resources.files("pbal_hq.logstore").joinpath("templates")
    return _Template(folder.joinpath(name).read_text(encoding="utf-8"))


def site_conf(
    config: Config,
    *,
    pki: Path = SITE_PKI,
    host: str = "",
    spool: Path = SPOOL,
    file: Path | None = None,
    retry_s: int = 5,
) -> str:
    """That of a Pi. Raises ConfigError.

    Parameters
    ----------
    pki : its folder with HQ's authority (hq-ca.crt), and logs.crt and logs.key of its own. Those
        tell HQ nothing: a site is its address in the tunnel.
    host : where HQ is reached; "": its address in the tunnel.
    spool : the folder of the queue.
    file : where the controller's lines are, if it logs into a file and not into the journal.
    retry_s : how soon HQ is tried again.
    """
    _check(pki, spool, *([file] if file else []))
    return _template("site.conf").substitute(
        **_source(file, spool, "pbal-controller", 'ruleset="pbal_ship"', _JOURNAL_SITE),
        fields=_copied(SITE_FIELDS, "out", {}), host=host or config.network.hub,
        port=config.logs.port, ca=pki / "hq-ca.crt", peer=BROKER,
        certificate=pki / "logs.crt", key=pki / "logs.key", spool=spool, retry_s=retry_s,
        queue_mb=config.logs.site_queue_mb,
    )  # fmt: skip


def hq_conf(
    config: Config,
    *,
    listen: str = "",
    spool: Path = SPOOL,
    file: Path | None = None,
    retry_s: int = 5,
) -> str:
    """That of HQ, with the password of `logs.ship_user`. Raises ConfigError.

    `listen`: where sites come in; "": HQ's address in the tunnel. The others as of a Pi.
    """
    logs, pki = config.logs, Pki(config.data / "pki")
    if not logs.url:
        raise ConfigError("logs.url is not set: where OpenSearch is (docs/hq-logs.md)")
    sites = sites_file(config)
    refused = spool / "pbal-logs-refused.json"
    ca = logs.ca or pki.ca
    _check(ca, sites, spool, pki.certificate(BROKER), *([file] if file else []))
    parts = urlsplit(logs.url)
    credentials = ['usehttps="on"', f'tls.cacert="{ca}"'] if parts.scheme == "https" else []
    if logs.ship_password_file is not None:
        word = secret(logs.ship_password_file, "logs.ship_password_file")
        if '"' in word or "\\" in word:
            raise ConfigError("logs.ship_password_file: no quotation mark and no backslash")
        credentials += [f'uid="{logs.ship_user}"', f'pwd="{word}"']
    store = _template("store.conf")
    shared = {
        "url": logs.url, "credentials": " ".join(credentials), "spool": spool, "retry_s": retry_s,
        "queue_mb": logs.queue_mb,
    }  # fmt: skip
    return _template("hq.conf").substitute(
        **_source(file, spool, "pbal-hq", 'ruleset="pbal_hq"', _JOURNAL_HQ),
        sites=sites, index=logs.index, refused=refused,
        site_fields=_copied(SITE_FIELDS, "doc", PLACED),
        hq_fields=_copied(HQ_FIELDS, "doc", PLACED),
        store=store.substitute(shared, doc="pbal_doc", id="pbal_id", queue="pbal-logs"),
        again=store.substitute(
            shared, doc="pbal_again_doc", id="pbal_again_id", queue="pbal-logs-again"
        ),
        listen=listen or config.network.hub, port=logs.port, ca=pki.ca,
        certificate=pki.certificate(BROKER), key=pki.key(BROKER),
    )  # fmt: skip


def sites_file(config: Config) -> Path:
    """Where HQ's rsyslog looks up which site has which address."""
    return config.data / "network" / SITES


def sites_table(peers: Iterable[Peer]) -> str:
    """That file's text: rsyslog's own format."""
    rows = [{"index": peer.address, "value": str(peer.site)} for peer in peers]
    return json.dumps({"version": 1, "nomatch": UNKNOWN, "type": "string", "table": rows}, indent=1)


# Every program's lines come through the journal's input; the others are not stored twice.
_JOURNAL_SITE = """\
if $inputname == "imjournal" then {
    if $!_SYSTEMD_UNIT == "pbal-controller.service" then call pbal_ship
    stop
}"""
_JOURNAL_HQ = """\
if $inputname == "imjournal" then {
    if re_match($!_SYSTEMD_UNIT, '^pbal-hq(@[a-z]+)?[.]service$') then call pbal_hq
    stop
}"""


def _source(file: Path | None, spool: Path, tag: str, ruleset: str, journal: str) -> dict[str, str]:
    if file is None:
        return {
            "input_module": f'module(load="imjournal" StateFile="{spool}/{tag}-journal.state")',
            "input": journal,
        }
    return {
        "input_module": 'module(load="imfile")',
        "input": f'input(type="imfile" File="{file}" Tag="{tag}:" {ruleset} '
        'reopenOnTruncate="on" freshStartTail="off")',
    }


def _copied(names: Iterable[str], to: str, placed: dict[str, str]) -> str:
    """Statements that copy those fields of a line which it has, as text."""
    lines = []
    for name in names:
        target = name if to == "out" else placed.get(name, f"fields!{name}")
        lines.append(
            f'        if $!line!{name} != "" then set $!{to}!{target} = "" & $!line!{name};'
        )
    return "\n".join(lines)


def _check(*paths: Path) -> None:
    """Raises ConfigError where rsyslog would read a path otherwise than it is meant."""
    for path in paths:
        if any(c in str(path) for c in '"\\\n*?') and path.suffix != ".log":
            raise ConfigError(f"{path}: rsyslog cannot be told of a path with such characters")
