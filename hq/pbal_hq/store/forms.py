"""What the fields of a summary, event or state have to be, made from their declarations.

pbal_uplink checks a message when it is made; on the bus others may write, too. Fields that nobody
declared are left alone: a newer role writes them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, create_model

from pbal_hq.ingest.wording import BadRecord
from pbal_uplink import Message as Said
from pbal_uplink.declare import Field as Declared


def _type_of(field: Declared) -> Any:
    kind: Any
    if field.is_text:
        kind = str
    elif field.is_bytes:
        kind = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
    else:
        number = float if field.is_float else int
        kind = Annotated[number, Field(ge=field.low, le=field.high)]  # NaN is neither
    return kind | None if field.optional else kind


_forms: dict[str, type[BaseModel]] = {}


def form(cls: type[Said]) -> type[BaseModel]:
    """The form of this message's fields."""
    if cls.NAME not in _forms:
        fields: dict[str, Any] = {field.name: (_type_of(field), ...) for field in cls.DECLARED}
        _forms[cls.NAME] = create_model(cls.NAME, **fields)
    return _forms[cls.NAME]


def check(cls: type[Said], fields: dict[str, Any]) -> None:
    """Raises BadRecord where a field is missing, of another kind or out of its range."""
    try:
        form(cls).model_validate(fields, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRecord(f"{cls.NAME}.{where}: {first['msg']}") from None
