"""Every message in few bytes, for LoRa and LoRaWAN.

The first byte is the form: the version of the messages and the message's id. A summary follows as
`compact` has it; an event and a state as they are packed, without the site, which the carrier
knows, and with as much of their text as there is room for.
"""

from __future__ import annotations

from pbal_uplink import compact
from pbal_uplink.declare import VERSION, Message
from pbal_uplink.errors import BadMessage
from pbal_uplink.messages import Event, State, Summary

LIMIT = compact.LIMIT
_SITE_BYTES = 4
# Where the site is in the packed bytes: after the id, and after `present` where there is one.
_SITE_AT: dict[type[Message], int] = {Event: 1, State: 5}
FORMS: dict[int, type[Message]] = {
    VERSION << 4 | cls.ID: cls for cls in (Summary, Event, State)
}  # fmt: skip


def encode(message: Message, room: int = LIMIT) -> bytes:
    """At most `room` bytes, which are at least `LIMIT`.

    Raises BadMessage for a message that has no such form.
    """
    if isinstance(message, Summary):
        return compact.encode(message)
    cls = type(message)
    if cls not in _SITE_AT:
        raise BadMessage(f"{cls.NAME} has no brief form")
    at, packed = _SITE_AT[cls], message.encode()
    end = cls.WIRE.SIZE - _SITE_BYTES  # of the fixed fields, the text's length included
    body = packed[:at] + packed[at + _SITE_BYTES :]
    text = _cut(body[end:], min(room, 255) - end)
    return bytes((VERSION << 4 | cls.ID,)) + body[1 : end - 1] + bytes((len(text),)) + text


def decode(data: bytes, site: int) -> Message:
    """The message that these bytes of `site` hold. Raises BadMessage."""
    cls = FORMS.get(data[0]) if data else None
    if cls is None:
        raise BadMessage(f"brief message: form {data[:1].hex() or 'none'} is not known")
    if cls is Summary:
        return compact.decode(data, site)
    at = _SITE_AT[cls]
    return cls.decode(
        bytes((cls.ID,)) + data[1:at] + site.to_bytes(_SITE_BYTES, "little") + data[at:]
    )


def arrives(message: Message, room: int = LIMIT) -> Message:
    """The message as HQ gets it when it goes in brief; HQ acknowledges this one's token."""
    site: int = message.site  # type: ignore[attr-defined]
    return decode(encode(message, room), site)


def _cut(text: bytes, most: int) -> bytes:
    """At most so many bytes of UTF-8, whole characters."""
    if len(text) <= most:
        return text
    return text[: max(0, most)].decode(errors="ignore").encode()
