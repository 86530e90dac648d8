"""JSON Schema (2020-12) of the messages, from their declarations."""

from __future__ import annotations

from typing import Any

from pbal_uplink.declare import VERSION, Field, Message
from pbal_uplink.messages import MESSAGES


def _property(field: Field) -> dict[str, Any]:
    out: dict[str, Any] = {"description": field.doc}
    if field.unit:
        out["x-unit"] = field.unit
    if field.is_text:
        return out | {"type": "string", "maxLength": field.high}
    kind = "string" if field.is_bytes else "number" if field.is_float else "integer"
    out["type"] = [kind, "null"] if field.optional else kind
    if field.is_bytes:
        return out | {"pattern": f"^[0-9a-f]{{{2 * field.high}}}$"}
    out |= {"minimum": field.low, "maximum": field.high}
    if field.names:
        out["x-names"] = {str(value): word for value, word in field.names.items()}
    return out


def schema(cls: type[Message]) -> dict[str, Any]:
    """The schema of one message's `as_dict`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pbal:uplink:{VERSION}:{cls.NAME.lower()}",
        "title": cls.NAME,
        "description": " ".join((cls.__doc__ or "").split()),
        "type": "object",
        "properties": {field.name: _property(field) for field in cls.DECLARED},
        "required": [field.name for field in cls.DECLARED],
        "additionalProperties": False,
    }


def schemas() -> dict[str, dict[str, Any]]:
    """The schemas by the name of the message."""
    return {cls.NAME: schema(cls) for cls in MESSAGES.values()}
