"""The database's cluster as Patroni sees it, asked of each member that `database.url` names.

PostgreSQL itself says who follows it; only Patroni knows whether there would be another primary.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from pbal_host import Finding
from pbal_hq.config import Config
from pbal_hq.errors import CertificateError
from pbal_hq.failover import APPLICATION, PATRONI_PORT, cluster_pki

_WAIT_S = 5.0
_LOOK = "patronictl -c /etc/pbal-db/patroni.yml list, on a member"
_START = "systemctl status pbal-db pbal-db-etcd, there"
_WELL = ("running", "streaming", "in archive recovery")


def cluster(config: Config) -> Iterator[Finding]:
    """Nothing where the database is no cluster of `pbal-hq db cluster`."""
    hosts = str(conninfo_to_dict(config.database.url).get("host") or "").split(",")
    pki = cluster_pki(config.data)
    if len(hosts) < 2 or not pki.exists():
        return
    try:
        context = ssl.create_default_context(cafile=str(pki.ca))
        context.load_cert_chain(pki.certificate(APPLICATION), pki.key(APPLICATION))
    except (OSError, CertificateError) as error:
        yield Finding(
            "cluster", "error", f"{pki.folder}: {error}", "pbal-hq db cluster, as at first"
        )
        return
    yield from judged({host: _ask(host, context) for host in hosts})


def _ask(host: str, context: ssl.SSLContext) -> Mapping[str, Any] | str:
    """What Patroni of this member says of all, or why it says nothing."""
    name = f"[{host}]" if ":" in host else host
    url = f"https://{name}:{PATRONI_PORT}/cluster"
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_S, context=context) as answer:
            found = json.loads(answer.read())
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return found if isinstance(found, dict) else "it says no object"


def judged(said: Mapping[str, Mapping[str, Any] | str]) -> Iterator[Finding]:
    """By address what its Patroni said of the whole cluster, or why it did not answer."""
    for host, answer in said.items():
        if isinstance(answer, str):
            yield Finding(
                "cluster", "error", f"Patroni of {host} does not answer: {answer}", _START
            )
    answers = [answer for answer in said.values() if not isinstance(answer, str)]
    if not answers:
        return
    members = [each for each in answers[0].get("members") or () if isinstance(each, dict)]
    leaders = [str(each.get("name")) for each in members if each.get("role") == "leader"]
    ill = [each for each in members if each.get("state") not in _WELL]
    for each in ill:
        words = f"{each.get('name')} is {each.get('state') or 'in no state'}"
        yield Finding("cluster", "error", words, _LOOK)
    if not leaders:
        yield Finding("cluster", "error", "there is no primary", _LOOK)
    elif len(members) - len(ill) < 2:
        words = f"{leaders[0]} is alone: nobody would follow it"
        yield Finding("cluster", "error", words, _LOOK)
    elif not any(each.get("role") == "sync_standby" for each in members):
        words = "no standby has every commit: none may follow by itself"
        yield Finding("cluster", "warning", words, _LOOK)
    elif len(answers) == len(said) and not ill:
        others = ", ".join(str(each.get("name")) for each in members if each["role"] != "leader")
        yield Finding("cluster", "ok", f"{leaders[0]} is primary; {others} would follow")
    if answers[0].get("pause"):
        words = "Patroni is paused: a lost primary is followed by nobody"
        yield Finding("cluster", "warning", words, "patronictl resume")
