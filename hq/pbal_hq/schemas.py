"""JSON Schema (2020-12) of what is in each topic of the bus, made of the forms it is checked by.

The files in docs/schemas are these. Consumers check every record by the same forms when they read
it; what does not fit is a dead letter with the reason. What a schema does not name is allowed: a
newer role may write it.
"""

from __future__ import annotations

from typing import Any

from pbal_hq.bus import topics
from pbal_hq.ingest.wording import Dead, Judged, Message, Out, Presence, schema
from pbal_hq.store import forms
from pbal_uplink import Event, State, Summary
from pbal_uplink import Message as Said
from pbal_uplink import schema as uplink

_WORDS = {
    topics.SUMMARY: "A window of a site, and how it came.",
    topics.EVENT: "Something that happened at a site, and how it came.",
    topics.STATE: "A birth or death of a site, or its state.",
    topics.ALARM: "What the detectors say of a site's windows up to one of them.",
    topics.OUT: "For the bridge: what it is to tell a site.",
    topics.DEAD: "A record that could not be used, with the reason.",
}


def schemas() -> dict[str, dict[str, Any]]:
    """By topic. Without hq.spb.raw, which is no JSON, and the decoder's own memory."""
    bodies = {
        topics.SUMMARY: _message(Summary),
        topics.EVENT: _message(Event),
        topics.STATE: _state(),
        topics.ALARM: schema(Judged),
        topics.OUT: schema(Out),
        topics.DEAD: schema(Dead),
    }
    return {topic: _headed(topic, body) for topic, body in bodies.items()}


def _plain(part: Any) -> Any:
    """Without the titles that pydantic makes of names."""
    if isinstance(part, dict):
        return {
            name: _plain(value)
            for name, value in part.items()
            if not (name == "title" and isinstance(value, str))
        }
    return [_plain(each) for each in part] if isinstance(part, list) else part


def _headed(topic: str, body: dict[str, Any]) -> dict[str, Any]:
    body = _plain(body)
    body.pop("description", None)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pbal:bus:{topic}",
        "title": topic,
        "description": _WORDS[topic],
    }
    return head | body


def _message(said: type[Said]) -> dict[str, Any]:
    return _of(schema(Message), said)


def _of(message: dict[str, Any], said: type[Said]) -> dict[str, Any]:
    """A message whose fields are those of `said`."""
    fields = forms.form(said).model_json_schema()
    for name, told in uplink.schema(said)["properties"].items():
        words = {key: told[key] for key in ("description", "x-unit", "x-names") if key in told}
        fields["properties"][name] = words | fields["properties"][name]
    message["properties"]["fields"] = fields
    return message


def _state() -> dict[str, Any]:
    """Presence has `online`, and by that alone the store tells them apart."""
    presence = schema(Presence)
    inner = presence.pop("$defs")
    return {
        "$defs": {"Message": _of(inner["Message"], State)},
        "if": {"type": "object", "required": ["online"]},
        "then": presence,
        "else": {"$ref": "#/$defs/Message"},
    }
