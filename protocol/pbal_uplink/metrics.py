"""The messages as Sparkplug metrics, in two forms from the same declarations.

*Packed*: one metric of bytes a message (`Summary`, `Event`, `State`), a quarter of the traffic;
pbal's own HQ reads it. *Plain*: one metric a field (`Summary/ia_mean_a`), which any Sparkplug host
shows. An alias means the same in both: the message's id for the packed metric, and id * 100 + 1,
+ 2, ... for its fields in the order of their declaration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from pbal_uplink import sparkplug
from pbal_uplink.declare import Field, Message
from pbal_uplink.errors import BadMessage
from pbal_uplink.messages import MESSAGES, Event, State, Summary
from pbal_uplink.sparkplug import Metric

SENT: tuple[type[Message], ...] = (Summary, Event, State)


def datatype(field: Field) -> int:
    """The Sparkplug data type of a field.

    Never UInt32: the specification puts it into `int_value`, Tahu's Java and JavaScript libraries
    into `long_value`, so readers disagree about it.
    """
    if field.is_text:
        return sparkplug.STRING
    if field.is_bytes:
        return sparkplug.BYTES
    if field.is_float:
        return sparkplug.FLOAT
    if field.low < 0:
        return sparkplug.INT32
    return {"B": sparkplug.UINT8, "H": sparkplug.UINT16}.get(field.code, sparkplug.UINT64)


def token(message: Message) -> int:
    """The number with which HQ acknowledges a stored message: 64 bits of SHA-256."""
    return token_of(message.encode())


def token_of(packed: bytes) -> int:
    """The same, of packed bytes."""
    return int.from_bytes(hashlib.sha256(packed).digest()[:8], "big")


def packed(message: Message, at_ms: int, historical: bool = False) -> tuple[Metric, ...]:
    """The message as one metric of bytes."""
    return (Metric(message.NAME, message.encode(), sparkplug.BYTES, message.ID, at_ms, historical),)


def plain(message: Message, at_ms: int, historical: bool = False) -> tuple[Metric, ...]:
    """The message as one metric a field."""
    return tuple(
        Metric(
            f"{message.NAME}/{field.name}",
            getattr(message, field.name),
            datatype(field),
            message.ID * 100 + place,
            at_ms,
            historical,
            field.unit,
        )
        for place, field in enumerate(message.DECLARED, 1)
    )


def announced(cls: type[Message], at_ms: int, *, in_plain: bool) -> tuple[Metric, ...]:
    """The metrics of a message for a birth: null, with name, type, alias and unit."""
    if not in_plain:
        return (Metric(cls.NAME, None, sparkplug.BYTES, cls.ID, at_ms),)
    return tuple(
        Metric(
            f"{cls.NAME}/{field.name}",
            None,
            datatype(field),
            cls.ID * 100 + place,
            at_ms,
            unit=field.unit,
        )
        for place, field in enumerate(cls.DECLARED, 1)
    )


def messages(metrics: Iterable[Metric]) -> list[tuple[Message, bool]]:
    """(message, historical) of a payload's metrics, in either form; others are ignored.

    Raises BadMessage for a message that lacks fields or has illegal values.
    """
    out: list[tuple[Message, bool]] = []
    fields: dict[type[Message], dict[str, Any]] = {}
    historical: dict[type[Message], bool] = {}
    by_name = {cls.NAME: cls for cls in MESSAGES.values()}
    for metric in metrics:
        name, _, field = metric.name.partition("/")
        cls = by_name.get(name)
        if cls is None:
            continue
        if field:
            fields.setdefault(cls, {})[field] = metric.value
            historical[cls] = metric.historical
        elif metric.value is not None:
            out.append((cls.decode(metric.value), metric.historical))
    for cls, values in fields.items():
        if all(value is None for value in values.values()):
            continue  # announced by a birth
        missing = [f.name for f in cls.DECLARED if f.name not in values]
        if missing:
            raise BadMessage(f"{cls.NAME}: {missing[0]} is missing")
        try:
            out.append((cls(**values), historical[cls]))
        except TypeError as error:
            raise BadMessage(f"{cls.NAME}: {error}") from None
    return out
