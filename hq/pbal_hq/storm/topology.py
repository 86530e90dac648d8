"""The detectors' topology as Flux reads it: hq.summary -> bolts -> hq.alarm.

At least once: Kafka's offsets are committed when all that came of a record is in hq.alarm.
Passwords and keys are not in it: Kafka's client in Java reads them from their files, on every
worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pbal_hq.bus import topics
from pbal_hq.javaclient import Client

STORM = "detect"  # the group, as roles name theirs
GROUP = f"pbal-hq.{STORM}"
_TEXT = "org.apache.kafka.common.serialization.String"

_FLUX = """\
# Made by `pbal-hq storm topology`. For Storm 2.8 with flux-core, flux-wrappers, storm-kafka-client.
name: {name}
config:
  topology.workers: {workers}
  topology.acker.executors: {workers}
  topology.max.spout.pending: 5000
  topology.message.timeout.secs: 120
  # A bolt that reads what its partitions had before is busy for so long at most.
  topology.subprocess.timeout.secs: 300
  topology.worker.max.heap.size.mb: 1024
  topology.component.resources.onheap.memory.mb: 64.0
  worker.childopts: "-Xmx256m -XX:+UseSerialGC"
components:
  - id: "reading"
    className: "org.apache.storm.kafka.spout.KafkaSpoutConfig$Builder"
    constructorArgs: [{servers}, [{summary}]]
    configMethods:
{reading}
      # Where nobody of the group was before: what comes from now on.
      - name: "setFirstPollOffsetStrategy"
        args: [UNCOMMITTED_LATEST]
  - id: "readingConfig"
    className: "org.apache.storm.kafka.spout.KafkaSpoutConfig"
    constructorArgs: [{{ref: "reading"}}]
  - id: "writing"
    className: "java.util.Properties"
    configMethods:
{writing}
  - id: "topic"
    className: "org.apache.storm.kafka.bolt.selector.DefaultTopicSelector"
    constructorArgs: [{alarm}]
  - id: "mapper"
    className: "org.apache.storm.kafka.bolt.mapper.FieldNameBasedTupleToKafkaMapper"
    constructorArgs: ["key", "message"]
spouts:
  - id: "summaries"
    className: "org.apache.storm.kafka.spout.KafkaSpout"
    constructorArgs: [{{ref: "readingConfig"}}]
    parallelism: 1
bolts:
  - id: "detect"
    className: "org.apache.storm.flux.wrappers.bolts.FluxShellBolt"
    constructorArgs: [{command}, ["key", "message"]]
    configMethods:
      - {{name: "changeChildCWD", args: [false]}}
    parallelism: {bolts}
  - id: "alarms"
    className: "org.apache.storm.kafka.bolt.KafkaBolt"
    configMethods:
      - {{name: "withProducerProperties", args: [{{ref: "writing"}}]}}
      - {{name: "withTopicSelector", args: [{{ref: "topic"}}]}}
      - {{name: "withTupleToKafkaMapper", args: [{{ref: "mapper"}}]}}
    parallelism: 1
streams:
  # A partition's records to one task: it reads that partition's past when it has none of it.
  - {{from: "summaries", to: "detect", grouping: {{type: FIELDS, args: ["partition"]}}}}
  - {{from: "detect", to: "alarms", grouping: {{type: LOCAL_OR_SHUFFLE}}}}
"""


def _calls(method: str, settings: Mapping[str, str]) -> str:
    lines = (
        f"      - {{name: {json.dumps(method)}, args: {json.dumps([name, value])}}}"
        for name, value in settings.items()
    )
    # Flux replaces ${...} before it reads YAML; these are Kafka's.
    return "\n".join(lines).replace("${", "\\u0024{")


def topology(
    client: Client, command: tuple[str, ...], *, name: str, workers: int = 1, bolts: int = 2
) -> str:
    """The file for Flux. `command` starts a bolt on a worker. Raises ConfigError."""
    common = client.settings()
    reading = common | {
        "group.id": GROUP, "isolation.level": "read_committed",
        "key.deserializer": f"{_TEXT}Deserializer", "value.deserializer": f"{_TEXT}Deserializer",
    }  # fmt: skip
    writing = common | {
        "bootstrap.servers": ",".join(client.servers), "acks": "all", "compression.type": "lz4",
        "key.serializer": f"{_TEXT}Serializer", "value.serializer": f"{_TEXT}Serializer",
    }  # fmt: skip
    return _FLUX.format(
        name=json.dumps(name), workers=workers, bolts=bolts,
        servers=json.dumps(",".join(client.servers)), summary=json.dumps(topics.SUMMARY),
        alarm=json.dumps(topics.ALARM), command=json.dumps(list(command)),
        reading=_calls("setProp", reading), writing=_calls("setProperty", writing),
    )  # fmt: skip
