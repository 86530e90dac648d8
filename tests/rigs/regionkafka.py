"""A real Kafka for machines on a network of the tests: a computer of its own on it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbal_engines import Kafka, Missing, Tls, fetched, find_java
from pbal_hq.bus.rights import users
from pbal_hq.ca import Pki
from rigs import needs
from rigs.booted import Booted
from rigs.machines import Machines

ADDRESS, PORT = "192.0.2.31", 9094
PASSWORD = secrets.token_hex(8)
ADMIN = secrets.token_hex(8)


def require() -> None:
    """Goes on only where engines are asked for and Kafka can run."""
    if not needs.in_ci() and os.environ.get("PBAL_ENGINE_TESTS", "") in ("", "0"):
        pytest.skip("a real Kafka: PBAL_ENGINE_TESTS=1 fetches and runs it")
    needs.require_module("confluent_kafka", "kafka")
    try:
        find_java()
        fetched("kafka")
    except Missing as error:
        needs.missing("what Kafka needs", str(error))


def _authority(folder: Path, front: Booted) -> Pki:
    """A copy of the authority that Ansible made on this machine."""
    folder.mkdir()
    made = Pki(folder)
    for name in ("ca.crt", "ca.key"):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(front.run("cat", f"/var/lib/pbal-hq/pki/{name}"))
    return made


@contextlib.contextmanager
def kafka(up: Machines, front: Booted, folder: Path) -> Iterator[Kafka]:
    """One broker, with a certificate of HQ's authority; nobody has set it up."""
    pki = _authority(folder / "pki", front)
    now = datetime.datetime.now(datetime.UTC)
    peer = pki.authority().peer("pbal-kafka", (ADDRESS,), 10, now)
    pair = folder / "pair.pem"
    pair.touch(mode=0o600)
    pair.write_bytes(peer.key + peer.pem)
    place = folder / "kafka"
    place.mkdir()
    # Nobody else listens on that computer: the usual port.
    (place / "ports.json").write_text(json.dumps([PORT, PORT + 1, PORT + 2]))
    passwords = {"admin": ADMIN, **dict.fromkeys(users(), PASSWORD)}
    made = Kafka(
        place, Tls(pki.ca, pair, "pbal-kafka"), passwords,
        host=ADDRESS, within=up.network.computer("kafka", ADDRESS).words(),
    )  # fmt: skip
    made.start()
    try:
        yield made
    finally:
        made.stop()
