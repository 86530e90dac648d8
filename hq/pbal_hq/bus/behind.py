"""How far consumers of a Kafka cluster are behind, for `KafkaBus.lag`.

Counted are offsets: from where a group is done, or the oldest record that is still there, to the
end. Kafka keeps a mark at the end of each transaction in the log, and counts it: a partition that
is read to its end has one such mark before it, and each append waiting counts one more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pbal_hq.bus.cluster import group_id

# For one answer; who asks for all of it waits as long as it likes.
_ANSWER_S = 5.0
# A role's own user sees its own group and topics; the others are other processes' to tell.
_NOT_OURS = (
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)

_Place = tuple[str, int]  # topic, partition


def behind(admin: AdminClient, groups: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
    """By (group, topic), without what this user may not see. `groups`: of each topic.

    Raises KafkaException where the cluster does not answer.
    """
    there = admin.list_topics(timeout=_ANSWER_S).topics
    parts = {name: list(there[name].partitions) for name in groups if name in there}
    places = [(name, part) for name, numbers in parts.items() for part in numbers]
    done = _done(admin, sorted({group for each in groups.values() for group in each}))
    begins = _offsets(admin, places, OffsetSpec.earliest())
    ends = _offsets(admin, places, OffsetSpec.latest())
    found: dict[tuple[str, str], int] = {}
    for name, numbers in parts.items():
        known = [(name, part) for part in numbers if (name, part) in ends]
        for group in groups[name]:
            if known and group in done:
                found[group, name] = sum(
                    max(0, ends[place] - max(begins.get(place, 0), done[group].get(place, 0)))
                    for place in known
                )
    return found


def _done(admin: AdminClient, groups: Iterable[str]) -> dict[str, dict[_Place, int]]:
    """By group and place what comes next; a group that began nowhere has no places."""
    asked: dict[str, Future[Any]] = {}
    for group in groups:
        wanted = ck.ConsumerGroupTopicPartitions(group_id(group))  # only one in each question
        (asked[group],) = admin.list_consumer_group_offsets(
            [wanted], request_timeout=_ANSWER_S
        ).values()
    found = {}
    for group, each in asked.items():
        answer = _answer(each)
        if answer is not None:
            found[group] = {
                (at.topic, at.partition): max(0, at.offset) for at in answer.topic_partitions or ()
            }
    return found


def _offsets(admin: AdminClient, places: Iterable[_Place], which: OffsetSpec) -> dict[_Place, int]:
    asked = {TopicPartition(*place): which for place in places}
    if not asked:
        return {}
    # What is committed: records of a transaction that goes on are nobody's work yet.
    answers = admin.list_offsets(
        asked, isolation_level=ck.IsolationLevel.READ_COMMITTED, request_timeout=_ANSWER_S
    )
    found = {(at.topic, at.partition): _answer(each) for at, each in answers.items()}
    return {place: int(said.offset) for place, said in found.items() if said is not None}


def _answer(asked: Future[Any]) -> Any:
    """None for what is not ours. Raises KafkaException."""
    try:
        return asked.result(2 * _ANSWER_S)
    except KafkaException as error:
        if error.args[0].code() in _NOT_OURS:
            return None
        raise
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
