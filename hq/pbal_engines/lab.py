"""A lab: engines that run on this computer until they are stopped, each in its folder below one.

An engine is found again by its folder alone: `down` and `status` need nothing of what `up` knew.
To add an engine, put what makes it into ENGINES: it is given its folder and the lab's `Identities`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pbal_engines.druid import Druid
from pbal_engines.errors import EngineError
from pbal_engines.hdfs import Hdfs
from pbal_engines.kafka import ADMIN, Kafka, Tls
from pbal_engines.opensearch import USERS, OpenSearch
from pbal_engines.service import Service, Weight
from pbal_engines.storm import Storm
from pbal_engines.superset import ADMIN as SUPERSET_ADMIN
from pbal_engines.superset import Superset


class Engine(Protocol):
    """What a lab asks of an engine. Its services' folders lie directly in its own folder."""

    services: list[Service]

    def start(self) -> None:
        """Start it and wait until it is ready. Raises EngineError."""

    def stop(self) -> None:
        """Stop it."""

    def told(self) -> dict[str, str]:
        """What a client needs: addresses, users."""


class Identities(Protocol):
    """Who gives certificates in a lab."""

    def server(self, name: str) -> Tls:
        """Files of a server of this name on this computer."""


def passwords(folder: Path, users: Sequence[str]) -> dict[str, str]:
    """Passwords of these users: drawn at first, then the same; in USER.password, for us alone."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for user in users:
        kept = folder / f"{user}.password"
        if not kept.exists():
            kept.touch(mode=0o600)
            kept.write_text(secrets.token_urlsafe(18))
        found[user] = kept.read_text()
    return found


def _kafka(folder: Path, identities: Identities) -> Kafka:
    users = passwords(folder, (ADMIN, "pbal-hq"))  # those of roles are made by who needs them
    return Kafka(folder, identities.server("pbal-kafka"), users, lasting=True)


def _hdfs(folder: Path, _: Identities) -> Hdfs:
    return Hdfs(folder, lasting=True)


def _storm(folder: Path, _: Identities) -> Storm:
    return Storm(folder, lasting=True)


def _druid(folder: Path, _: Identities) -> Druid:
    return Druid(folder, lasting=True)


def _opensearch(folder: Path, identities: Identities) -> OpenSearch:
    tls = identities.server("pbal-opensearch")
    return OpenSearch(folder, tls, passwords(folder, USERS), lasting=True)


def _superset(folder: Path, _: Identities) -> Superset:
    return Superset(folder, passwords(folder, (SUPERSET_ADMIN,))[SUPERSET_ADMIN], lasting=True)


ENGINES: dict[str, Callable[[Path, Identities], Engine]] = {
    "kafka": _kafka, "hdfs": _hdfs, "storm": _storm, "druid": _druid, "opensearch": _opensearch,
    "superset": _superset,
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One service of a lab."""

    engine: str
    service: str
    running: bool
    weight: Weight


def up(folder: Path, name: str, identities: Identities) -> dict[str, str]:
    """Start an engine that outlives this process; what a client needs. Raises EngineError."""
    if name not in ENGINES:
        raise EngineError(f"there is no engine {name}; engines are {', '.join(ENGINES)}")
    if any(each.running for each in status(folder) if each.engine == name):
        raise EngineError(f"{name} is up already; down {name} ends it")
    engine = ENGINES[name](folder / name, identities)
    engine.start()
    told = engine.told()
    (folder / name / "told.json").write_text(json.dumps(told))
    return told


def down(folder: Path, name: str) -> int:
    """Stop an engine; how many services ran."""
    found = [each for each in _services(folder) if each[0] == name]
    count = sum(service.is_running() for _, service in found)
    for _, service in reversed(found):
        service.stop()
    return count


def status(folder: Path) -> list[Seen]:
    """Every service that was started and not stopped."""
    return [
        Seen(engine, service.name, service.is_running(), service.weigh())
        for engine, service in _services(folder)
    ]


def _services(folder: Path) -> list[tuple[str, Service]]:
    found = sorted(folder.glob("*/*/service.json"))
    return [
        (path.parent.parent.name, Service.found(path.parent.name, path.parent)) for path in found
    ]
