"""Sparkplug B 3.0: topics, and payloads as bytes and back.

The payload is Protocol Buffers (proto2). Its fields' numbers and types are those of the
specification's section 6.4.1 (Eclipse Sparkplug 3.0.0); the part of them that pbal uses is declared
here, and Google's runtime encodes and decodes. Fields that are not declared are skipped in reading.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from pbal_uplink.errors import BadMessage

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
BDSEQ = "bdSeq"
# NCMD metrics of pbal: a sealed command, and what HQ has stored (tokens, see metrics.token).
COMMAND = "Command"
STORED = "Outbox/Stored"

# Data types, section 6.4.16 of the specification.
INT32, INT64, UINT8, UINT16, UINT32, UINT64 = 3, 4, 5, 6, 7, 8
FLOAT, DOUBLE, BOOLEAN, STRING = 9, 10, 11, 12
BYTES, UINT64_ARRAY = 17, 29
_VALUE_FIELD = {
    1: "int_value", 2: "int_value", INT32: "int_value", INT64: "long_value",
    UINT8: "int_value", UINT16: "int_value", UINT32: "int_value", UINT64: "long_value",
    FLOAT: "float_value", DOUBLE: "double_value", BOOLEAN: "boolean_value",
    STRING: "string_value", 13: "long_value", 14: "string_value", 15: "string_value",
    BYTES: "bytes_value", UINT64_ARRAY: "bytes_value",
}  # fmt: skip
_SIGNED = {1: 8, 2: 16, INT32: 32, INT64: 64}


def _classes() -> tuple[Any, Any]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="pbal_uplink/sparkplug.proto", package="pbal.sparkplug", syntax="proto2"
    )

    def declare(name: str, *rows: tuple[int, str, int, str]) -> None:
        made = file.message_type.add(name=name)
        for number, field, kind, of in rows:
            many = of.startswith("*")
            row = made.field.add(
                name=field, number=number, type=kind,
                label=kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL,
            )  # fmt: skip
            if kind == kinds.TYPE_MESSAGE:
                row.type_name = ".pbal.sparkplug." + of.lstrip("*")

    u32, u64, flag = kinds.TYPE_UINT32, kinds.TYPE_UINT64, kinds.TYPE_BOOL
    words, octets, group = kinds.TYPE_STRING, kinds.TYPE_BYTES, kinds.TYPE_MESSAGE
    declare("PropertyValue", (1, "type", u32, ""), (2, "is_null", flag, ""),
            (3, "int_value", u32, ""), (4, "long_value", u64, ""),
            (5, "float_value", kinds.TYPE_FLOAT, ""), (6, "double_value", kinds.TYPE_DOUBLE, ""),
            (7, "boolean_value", flag, ""), (8, "string_value", words, ""))  # fmt: skip
    declare("PropertySet", (1, "keys", words, "*"), (2, "values", group, "*PropertyValue"))
    declare("Metric", (1, "name", words, ""), (2, "alias", u64, ""), (3, "timestamp", u64, ""),
            (4, "datatype", u32, ""), (5, "is_historical", flag, ""),
            (6, "is_transient", flag, ""), (7, "is_null", flag, ""),
            (9, "properties", group, "PropertySet"),
            (10, "int_value", u32, ""), (11, "long_value", u64, ""),
            (12, "float_value", kinds.TYPE_FLOAT, ""), (13, "double_value", kinds.TYPE_DOUBLE, ""),
            (14, "boolean_value", flag, ""), (15, "string_value", words, ""),
            (16, "bytes_value", octets, ""))  # fmt: skip
    declare("Payload", (1, "timestamp", u64, ""), (2, "metrics", group, "*Metric"),
            (3, "seq", u64, ""), (4, "uuid", words, ""), (5, "body", octets, ""))  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    payload = message_factory.GetMessageClass(pool.FindMessageTypeByName("pbal.sparkplug.Payload"))
    metric = message_factory.GetMessageClass(pool.FindMessageTypeByName("pbal.sparkplug.Metric"))
    return payload, metric


_Payload, _Metric = _classes()


@dataclass(frozen=True)
class Metric:
    """One metric. `value` None is null; `unit` becomes the property engUnit of a birth."""

    name: str = ""
    value: Any = None
    datatype: int = 0  # 0: not given (data under an alias)
    alias: int | None = None
    timestamp: int | None = None  # milliseconds, unix
    historical: bool = False
    unit: str = ""

    def under_alias(self) -> Metric:
        """As it stands in NDATA: by its alias, without name, type and unit."""
        return self if self.alias is None else replace(self, name="", unit="")


@dataclass(frozen=True)
class Payload:
    """What an MQTT message of Sparkplug holds. `timestamp`: milliseconds, unix."""

    metrics: tuple[Metric, ...] = ()
    timestamp: int | None = None
    seq: int | None = None

    def get(self, name: str) -> Any:
        """The value of the first metric of this name; None when there is none."""
        return next((m.value for m in self.metrics if m.name == name), None)


def encode(payload: Payload, *, types: bool = True) -> bytes:
    """The payload's bytes; `types`: each metric says its data type, as births and commands do.

    Raises BadMessage for a value that does not fit its type.
    """
    out = _Payload()
    if payload.timestamp is not None:
        out.timestamp = payload.timestamp
    if payload.seq is not None:
        out.seq = payload.seq
    for metric in payload.metrics:
        item = out.metrics.add()
        try:
            _fill(item, metric, types)
        except (TypeError, ValueError, struct.error) as error:
            raise BadMessage(f"metric {metric.name or metric.alias}: {error}") from None
    return bytes(out.SerializeToString())


def _fill(item: Any, metric: Metric, types: bool) -> None:
    if metric.name:
        item.name = metric.name
    if metric.alias is not None:
        item.alias = metric.alias
    if metric.timestamp is not None:
        item.timestamp = metric.timestamp
    if types:
        item.datatype = metric.datatype
    if metric.historical:
        item.is_historical = True
    if metric.unit:
        item.properties.keys.append("engUnit")
        item.properties.values.add(type=STRING, string_value=metric.unit)
    if metric.value is None:
        item.is_null = True
        return
    value = metric.value
    if metric.datatype in _SIGNED:
        value &= (1 << max(32, _SIGNED[metric.datatype])) - 1
    elif metric.datatype == UINT64_ARRAY:
        value = struct.pack(f"<{len(value)}Q", *value)
    setattr(item, _VALUE_FIELD[metric.datatype], value)


def decode(data: bytes, types: dict[int, tuple[str, int]] | None = None) -> Payload:
    """The payload of bytes; `types`: what a birth said of each alias (name, data type).

    Raises BadMessage: no payload, or a metric of which neither it nor the birth says the type.
    """
    raw = _Payload()
    try:
        raw.ParseFromString(bytes(data))
    except DecodeError as error:
        raise BadMessage(f"no Sparkplug payload: {error}") from None
    return Payload(
        tuple(_metric(item, types or {}) for item in raw.metrics),
        raw.timestamp if raw.HasField("timestamp") else None,
        raw.seq if raw.HasField("seq") else None,
    )


def _metric(item: Any, types: dict[int, tuple[str, int]]) -> Metric:
    alias = item.alias if item.HasField("alias") else None
    name, datatype = item.name, item.datatype
    if alias is not None and alias in types:
        name, datatype = name or types[alias][0], datatype or types[alias][1]
    value = None
    if not item.is_null:
        field = _VALUE_FIELD.get(datatype)
        if field is None:
            raise BadMessage(f"metric {name or alias}: data type {datatype}")
        if not item.HasField(field):
            raise BadMessage(f"metric {name or alias}: no {field}")
        value = getattr(item, field)
        if datatype in _SIGNED:
            bits = _SIGNED[datatype]
            value &= (1 << bits) - 1
            value -= (value >> (bits - 1)) << bits
        elif datatype == UINT64_ARRAY:
            if len(value) % 8:
                raise BadMessage(f"metric {name}: {len(value)} bytes are no UInt64Array")
            value = struct.unpack(f"<{len(value) // 8}Q", value)
    return Metric(
        name, value, datatype, alias, item.timestamp if item.HasField("timestamp") else None,
        item.is_historical,
    )  # fmt: skip


def aliases(birth: Payload) -> dict[int, tuple[str, int]]:
    """What a birth says of each alias: its name and data type."""
    return {m.alias: (m.name, m.datatype) for m in birth.metrics if m.alias is not None}


def topic(group: str, kind: str, node: str, device: str = "") -> str:
    """The topic of an edge node's message, e.g. kind "NDATA", or of one of its devices."""
    return f"{NAMESPACE}/{group}/{kind}/{node}" + (f"/{device}" if device else "")


def state_topic(host: str) -> str:
    """Where a primary host application says whether it is online."""
    return f"{NAMESPACE}/STATE/{host}"


def read_state(data: bytes) -> tuple[bool, int]:
    """(online, milliseconds) of a STATE message. Raises BadMessage."""
    try:
        said = json.loads(data)
        online, at = said["online"], said["timestamp"]
    except (ValueError, KeyError, TypeError):
        raise BadMessage("no STATE of Sparkplug 3: it needs online and timestamp") from None
    if not isinstance(online, bool) or not isinstance(at, int) or isinstance(at, bool):
        raise BadMessage("no STATE of Sparkplug 3: online must be true or false, timestamp whole")
    return online, at


def write_state(online: bool, at_ms: int) -> bytes:
    """A STATE message."""
    return json.dumps({"online": online, "timestamp": at_ms}, separators=(",", ":")).encode()
