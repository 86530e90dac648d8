"""A Kafka cluster as a client sees it: the connection, and what goes wrong with it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from pbal_hq.config import KafkaConfig
from pbal_hq.errors import BusAway, BusError

log = logging.getLogger(__name__)
# librdkafka says every attempt to connect; `Trouble` is told the same.
QUIET = logging.getLogger(f"{__name__}.librdkafka")
QUIET.setLevel(logging.CRITICAL)

# Not what passes by itself: our password, a certificate.
_REFUSALS = (
    KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM, KafkaError._SSL,
)  # fmt: skip
# A broker that begins may refuse whom it knows, once.
_REFUSED_FOR_S = 2.0
_LOOK_S = 0.2

PREFIX = "pbal-hq."  # of groups and transactions
ANSWER_S = 15.0  # for one answer of the cluster
_PATIENCE_S = 45.0  # over a change of leaders


def group_id(group: str) -> str:
    """A group's name in Kafka."""
    return PREFIX + group


class Trouble:
    """What librdkafka last complained of; each kind is logged once until something works.

    quiet : not logged, until that is set to False.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.why = ""
        self.quiet = quiet
        #: When the cluster first refused us, and last (monotonic); None: it did not.
        self.refused: tuple[float, float] | None = None
        self._told: set[int] = set()

    def __call__(self, error: KafkaError) -> None:
        """librdkafka's error callback."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self.why:
            return  # what was said before says why
        self.why = error.str()
        # A connection that is lost while it is made is none that is refused.
        if error.code() in _REFUSALS and "isconnected" not in self.why:
            now = time.monotonic()
            self.refused = (self.refused[0] if self.refused else now, now)
        if not self.quiet and error.code() not in self._told:
            self._told.add(error.code())
            log.warning("trouble with Kafka", extra={"why": self.why})

    def over(self) -> None:
        """Something worked."""
        if self._told:
            log.info("Kafka works again")
        self.why = ""
        self.refused = None
        self._told.clear()

    def told(self, error: object, kind: type[BusError] = BusError) -> BusError:
        """As an error, with what to do."""
        text = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        why = f"{text} ({self.why})" if self.why and self.why not in text else text
        return kind(f"Kafka: {why}; do bus.kafka.servers, user, password_file and the "
                    "certificates fit, and was `pbal-hq bus set-up` run?")  # fmt: skip


def connection(
    config: KafkaConfig, files: Mapping[str, Path], password: str, user: str = ""
) -> dict[str, Any]:
    """librdkafka's settings for TLS with our certificate, and SCRAM.

    `files`: ca, certificate, key, as paths.
    """
    return {
        "bootstrap.servers": ",".join(config.servers),
        "client.id": "pbal-hq",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user or config.user,
        "sasl.password": password,
        "ssl.ca.location": str(files["ca"]),
        "ssl.certificate.location": str(files["certificate"]),
        "ssl.key.location": str(files["key"]),
        "ssl.endpoint.identification.algorithm": "https",
        "topic.metadata.refresh.interval.ms": 30_000,
        "reconnect.backoff.max.ms": 2_000,
    }


def client(settings: Mapping[str, Any], *, quiet: bool = False) -> tuple[AdminClient, Trouble]:
    """A client, before it has an answer."""
    trouble = Trouble(quiet=quiet)
    return AdminClient({**settings, "error_cb": trouble}, logger=QUIET), trouble


async def answered(client: AdminClient, trouble: Trouble) -> None:
    """The cluster answers. Raises BusAway where none does in ANSWER_S, BusError where it refuses
    us. Who waits may be cancelled at once.
    """
    trouble.refused = None
    asked = asyncio.wrap_future(client.describe_cluster(request_timeout=ANSWER_S))
    while not asked.done():
        await asyncio.wait([asked], timeout=_LOOK_S)
        client.poll(0)  # what is complained of
        if (times := trouble.refused) and times[1] - times[0] >= _REFUSED_FOR_S:
            asked.add_done_callback(lambda each: each.cancelled() or each.exception())
            raise trouble.told(trouble.why)
    try:
        asked.result()
    except KafkaException as error:
        raise trouble.told(error, BusError if trouble.refused else BusAway) from None
    trouble.over()


def asked(settings: Mapping[str, Any]) -> tuple[AdminClient, Trouble]:
    """A client to a cluster that has answered. Raises BusError."""
    made, trouble = client(settings)
    try:
        made.list_topics(timeout=ANSWER_S)
    except KafkaException as error:
        for _ in range(20):  # what was complained of meanwhile
            made.poll(0.05)
        raise trouble.told(error) from None
    return made, trouble


def patiently(work: Callable[[], object], seconds: float = _PATIENCE_S) -> None:
    """Do it, again where Kafka says that it may work then. Raises KafkaException."""
    until = time.monotonic() + seconds
    while True:
        try:
            work()
            return
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > until:
                raise
        time.sleep(0.1)
