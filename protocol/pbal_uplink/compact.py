"""The summary in at most 51 bytes, for LoRa and LoRaWAN: the declared fields in coarse steps.

51 bytes is the largest LoRaWAN payload at the slowest data rates of EU868 (LoRaWAN regional
parameters RP002, DR0..DR2). The site is not in it: the carrier knows the sender. The first byte is
the form's number; the fields follow, the most significant bit first, each as wide as its
declaration says; the rest of the last byte is zero.
"""

from __future__ import annotations

import math
from typing import Any

from pbal_uplink.declare import VERSION, Compact, Field
from pbal_uplink.errors import BadMessage
from pbal_uplink.messages import Summary

LIMIT = 51
_FORM = VERSION << 4 | Summary.ID


def fields() -> tuple[tuple[Field, Compact], ...]:
    """The summary's fields that the compact form has, in order."""
    return tuple((f, f.compact) for f in Summary.DECLARED if f.compact is not None)


def top(field: Field, place: Compact) -> int:
    """The largest code of a value; the next one says "unknown" where a field may be unknown."""
    most = (1 << place.bits) - 1 - field.optional
    return min(most, int((field.high - place.low) // place.step))


def bottom(field: Field, place: Compact) -> int:
    """The smallest code of a value."""
    return max(0, math.ceil((field.low - place.low) / place.step))


BITS = 8 + sum(place.bits for _, place in fields())
SIZE = (BITS + 7) // 8
assert SIZE <= LIMIT


def encode(summary: Summary) -> bytes:
    """`SIZE` bytes; values beyond what they hold are sent as the nearest that they do hold."""
    word = _FORM
    for field, place in fields():
        value = getattr(summary, field.name)
        if value is None:
            code = (1 << place.bits) - 1
        else:
            code = round((value - place.low) / place.step)
            code = max(bottom(field, place), min(top(field, place), code))
        word = word << place.bits | code
    return (word << (8 * SIZE - BITS)).to_bytes(SIZE, "big")


def decode(data: bytes, site: int) -> Summary:
    """The summary that these bytes of `site` hold. Raises BadMessage."""
    if len(data) != SIZE:
        raise BadMessage(f"compact summary: {len(data)} bytes, not {SIZE}")
    if data[0] != _FORM:
        raise BadMessage(f"compact summary: form {data[0]:#04x}, not {_FORM:#04x}")
    word = int.from_bytes(data, "big")
    if word & ((1 << (8 * SIZE - BITS)) - 1):
        raise BadMessage("compact summary: its last bits are not zero")
    at = BITS - 8
    word = word >> (8 * SIZE - BITS)
    values: dict[str, Any] = {"site": site}
    for field, place in fields():
        at -= place.bits
        code = word >> at & ((1 << place.bits) - 1)
        if field.optional and code == (1 << place.bits) - 1:
            values[field.name] = None
            continue
        if not bottom(field, place) <= code <= top(field, place):
            raise BadMessage(f"compact summary: {field.name} has code {code}")
        value = place.low + code * place.step
        values[field.name] = value if field.is_float else round(value)
    return Summary(**values)
