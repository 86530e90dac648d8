"""Which user of Kafka may do what, and making the topics: `pbal-hq bus set-up`.

Each role may run under a user of its own (`pbal-hq-decode`); the user `pbal-hq` is for all of them
in one process. Nobody may do what is not in this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from pbal_hq.bus import topics
from pbal_hq.bus.cluster import PREFIX, asked, group_id
from pbal_hq.config import KafkaConfig

USER = "pbal-hq"
_ANSWER_S = 30.0
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Right:
    """What one role reads, as which group, and what it writes."""

    group: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


RIGHTS: Mapping[str, Right] = {
    "bridge": Right("bridge", (topics.OUT,), (topics.RAW, topics.DEAD)),
    "chirpstack": Right(
        "chirpstack",
        (topics.OUT,),
        (topics.SUMMARY, topics.EVENT, topics.STATE, topics.DEAD),
    ),
    "decode": Right(
        "decode",
        (topics.RAW, topics.NODE),
        (topics.SUMMARY, topics.EVENT, topics.STATE, topics.OUT, topics.DEAD, topics.NODE),
    ),
    "store": Right(
        "store", (topics.SUMMARY, topics.EVENT, topics.STATE, topics.DEAD), (topics.OUT,)
    ),
    # Storm's topology; who takes what it says.
    "detect": Right("detect", (topics.SUMMARY,), (topics.ALARM,)),
    "alarms": Right("alarms", (topics.ALARM,), (topics.DEAD,)),
    "druid": Right("", (topics.SUMMARY,), ()),
    "orders": Right("", (), (topics.OUT,)),
    # What it writes: `pbal-hq lake replay`.
    "lake": Right("lake", (topics.SUMMARY, topics.EVENT), (topics.SUMMARY, topics.EVENT)),
}


def users() -> list[str]:
    """The users that rights are for."""
    return [USER, *(f"{USER}-{role}" for role in RIGHTS)]


def rules() -> list[AclBinding]:
    """All of them."""
    found = []
    for role, right in RIGHTS.items():
        for user in (USER, f"{USER}-{role}"):
            found += _rules_of(user, right)
    return list({str(rule): rule for rule in found}.values())


def _rules_of(user: str, right: Right) -> list[AclBinding]:
    def allow(
        kind: ResourceType, name: str, *operations: AclOperation, prefix: bool = False
    ) -> list[AclBinding]:
        pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
        return [
            AclBinding(kind, name, pattern, f"User:{user}", "*", each, AclPermissionType.ALLOW)
            for each in operations
        ]

    o = AclOperation
    found = []
    for name in right.reads:
        found += allow(ResourceType.TOPIC, name, o.READ, o.DESCRIBE)
    for name in right.writes:
        found += allow(ResourceType.TOPIC, name, o.WRITE, o.DESCRIBE)
    if right.group:
        found += allow(ResourceType.GROUP, group_id(right.group), o.READ, o.DESCRIBE)
    # All roles' transactions have names of their own below this one.
    return found + allow(ResourceType.TRANSACTIONAL_ID, PREFIX, o.WRITE, o.DESCRIBE, prefix=True)


def set_up(settings: Mapping[str, Any], config: KafkaConfig) -> list[str]:
    """Make the topics that are missing, and the rules; which topics were made.

    `settings`: of a user that may. Raises BusError. Partitions of a topic that is there are left as
    they are: with more of them keys would move.
    """
    client, trouble = asked(settings)
    made = []
    try:
        wanted = [_topic(name, config) for name in (*topics.ALL, *topics.COMPACTED)]
        for name, each in client.create_topics(wanted, operation_timeout=_ANSWER_S).items():
            try:
                each.result(_ANSWER_S)
                made.append(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
        for each in client.create_acls(rules()).values():
            each.result(_ANSWER_S)
    except KafkaException as error:
        raise trouble.told(error) from None
    return made


def _topic(name: str, config: KafkaConfig) -> NewTopic:
    how = {"min.insync.replicas": str(max(1, config.replicas - 1))}
    if name in topics.COMPACTED:
        # Read as a whole whenever partitions move: kept small.
        how |= {"cleanup.policy": "compact", "segment.ms": "3600000",
                "min.cleanable.dirty.ratio": "0.2"}  # fmt: skip
    else:
        how |= {"retention.ms": str(int(config.keep_days * _DAY_MS))}
    return NewTopic(name, config.partitions, config.replicas, config=how)
