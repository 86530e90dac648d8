"""The forms of records on the bus, and their bytes.

Others may write to a bus, too: what comes is checked, and raises BadRecord where it does not fit.
Fields that are not known are left out: a newer role may write them.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter, ValidationError

from pbal_uplink import names

KINDS = ("NBIRTH", "NDATA", "NDEATH")
# Of the devices of an edge node: sites behind a gateway.
DEVICE_KINDS = ("DBIRTH", "DDATA", "DDEATH")


# A site's token of a message, and a sealed order, both in hex.
Token = Annotated[str, Field(pattern=r"^[0-9a-f]{1,16}$")]
Sealed = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
Severity = Annotated[int, Field(ge=min(names.SEVERITIES), le=max(names.SEVERITIES))]


class BadRecord(Exception):
    """The bytes of a record are not of its form; the text says where."""


_forms: dict[Any, TypeAdapter[Any]] = {}


def _form(cls: Any) -> TypeAdapter[Any]:
    if cls not in _forms:
        _forms[cls] = TypeAdapter(cls)  # made when it is first used: it takes a while
    return _forms[cls]


def schema(cls: type[_Json]) -> dict[str, Any]:
    """The JSON Schema of a record's form."""
    return _form(cls).json_schema(ref_template="#/$defs/{model}")


@dataclass(frozen=True)
class Raw:
    """A message of a node, or of a device of it, as the broker gave it."""

    kind: str
    qos: int
    payload: bytes
    device: str = ""

    def encode(self) -> bytes:
        """Its bytes on the bus."""
        # The access list lets no name with a space pass.
        kind = f"{self.kind}/{self.device}" if self.device else self.kind
        return f"{kind} {self.qos}\n".encode() + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raw of its bytes. Raises BadRecord."""
        head, _, payload = data.partition(b"\n")
        words, _, qos = head.decode(errors="replace").rpartition(" ")
        kind, _, device = words.partition("/")
        if not kind or qos not in ("0", "1", "2"):
            raise BadRecord("it does not begin with a kind and a QoS")
        return cls(kind, int(qos), payload, device)


@dataclass(frozen=True)
class _Json:
    def encode(self) -> bytes:
        """Its bytes on the bus."""
        said = json.dumps(self._said(), separators=(",", ":"), default=lambda each: each._said())
        return said.encode()

    def _said(self) -> dict[str, Any]:
        return vars(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The record of its bytes. Raises BadRecord."""
        try:
            made: Self = _form(cls).validate_json(data, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise BadRecord(f"{where}: {first['msg']}" if where else first["msg"]) from None
        return made


@dataclass(frozen=True)
class Message(_Json):
    """A summary, event or state. `token`: hex, the same at the site; it is the trace id, too.

    `replayed`: it comes from the lake, and no site waits to be told that it is stored.
    """

    token: Token
    received_ms: int
    historical: bool
    fields: dict[str, Any]  # pbal_uplink's as_dict
    replayed: bool = False

    def _said(self) -> dict[str, Any]:
        # Readers of older versions know no `replayed`.
        return {name: value for name, value in vars(self).items() if name != "replayed" or value}


@dataclass(frozen=True)
class Presence(_Json):
    """A birth or death. `at_ms`: when HQ's broker gave it to HQ."""

    online: bool
    bdseq: int | None
    at_ms: int
    state: Message | None = None


@dataclass(frozen=True)
class Dead(_Json):
    """A message that could not be used."""

    kind: str
    reason: str
    payload: str  # base64
    at_ms: int

    @classmethod
    def of(cls, kind: str, reason: str, payload: bytes, at_ms: int) -> Self:
        """With the payload's bytes."""
        return cls(kind, reason, base64.b64encode(payload).decode(), at_ms)

    @property
    def data(self) -> bytes:
        """The payload. Raises BadRecord."""
        try:
            return base64.b64decode(self.payload)
        except ValueError:
            raise BadRecord("payload: no base64") from None


@dataclass(frozen=True)
class Judged(_Json):
    """What the detectors say of a site's windows up to the one that begins at `start_s`.

    `at_ms`: when HQ had the latest of them, so the same windows make the same bytes. By kind of
    alarm the severity and words: `raises` where no such alarm is open, `keeps` where one is.
    """

    site: int
    start_s: int
    at_ms: int
    raises: dict[str, tuple[Severity, str]]
    keeps: dict[str, tuple[Severity, str]]


@dataclass(frozen=True)
class Out(_Json):
    """For the bridge to send to a node: a request for a rebirth, what is stored, a command."""

    rebirth: bool = False
    stored: list[Token] = field(default_factory=list)
    command: Sealed = ""
