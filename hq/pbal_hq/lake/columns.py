"""The columns of the lake's files, from the declarations of the messages.

Besides a message's own fields a row has the transformer, the site's name on the bus, and what came
with the message. A field that a file does not have is null when it is read; a column of a later
version that this one does not know is kept when a file is written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pbal_hq.bus import topics
from pbal_hq.ingest.wording import Message
from pbal_uplink import Event, Field, Summary
from pbal_uplink.declare import Message as Declared

_TYPES = {
    "B": pa.uint8(), "H": pa.uint16(), "h": pa.int16(), "I": pa.uint32(), "i": pa.int32(),
    "Q": pa.uint64(),
}  # fmt: skip
_HEAD = pa.schema(
    [
        pa.field("transformer_id", pa.int32()),
        pa.field("node", pa.string()),  # on the bus, without the region
        pa.field("token", pa.string()),
        pa.field("received_ms", pa.int64()),
        pa.field("historical", pa.bool_()),
    ]
)


def _type(field: Field) -> pa.DataType:
    if field.is_text or field.is_bytes:
        return pa.string()
    return pa.float32() if field.is_float else _TYPES[field.code]


def _sampled(table: pa.Table) -> Any:
    """Of two summaries of one window the one with more samples stays; of equal ones the later."""
    return _numbers(table, "length_s") * _numbers(table, "complete_percent")


def _numbers(table: pa.Table, name: str) -> Any:
    return table.column(name).to_numpy().astype(np.int64)


@dataclass(frozen=True)
class Kind:
    """One kind of rows: which message, which rows are the same, and which of them stays.

    `at`: the field with the time (unix seconds) whose hour a row belongs to. `rank`: a number for
    each row; of the same rows the one with the highest stays, of equal ones the later. None: the
    first one stays.
    """

    name: str
    topic: str
    message: type[Declared]
    key: tuple[str, str]
    at: str
    rank: Callable[[pa.Table], Any] | None

    @property
    def schema(self) -> pa.Schema:
        """The columns that this version knows."""
        fields = [pa.field(f.name, _type(f)) for f in self.message.DECLARED]
        return pa.schema([*_HEAD, *fields])

    def row(self, transformer: int, node: str, message: Message) -> tuple[Any, ...]:
        """A message as a row of `schema`; what a sender of an older version has not is None."""
        said = message.fields
        return (
            transformer, node, message.token, message.received_ms, message.historical,
            *(said.get(field.name) for field in self.message.DECLARED),
        )  # fmt: skip

    def table(self, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
        """Rows as a table."""
        columns = list(zip(*rows, strict=True)) or [()] * len(self.schema)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self.schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def messages(self, table: pa.Table) -> list[tuple[str, Message]]:
        """(node, message) of each row, with the values that the site sent."""
        declared = {field.name: field for field in self.message.DECLARED}
        found = []
        for row in table.to_pylist():
            fields = {
                name: round(row[name] * field.divisor) / field.divisor
                if field.is_float and row[name] is not None
                else row[name]
                for name, field in declared.items()
            }
            found.append(
                (row["node"], Message(row["token"], row["received_ms"], row["historical"], fields))
            )
        return found

    def once(self, tables: Sequence[pa.Table]) -> pa.Table:
        """The rows of all, each once, in the order of `key`; earlier tables have the older rows."""
        # Never fewer columns than a file had: a later version may have written it.
        table = pa.concat_tables(
            [self.schema.empty_table(), *tables], promote_options="permissive"
        ).combine_chunks()
        arrived = np.arange(len(table))
        rank = -arrived if self.rank is None else self.rank(table)
        first, second = (table.column(name).to_numpy() for name in self.key)
        order = np.lexsort((arrived, rank, second, first))
        a, b = first[order], second[order]
        last = np.ones(len(order), dtype=bool)
        last[:-1] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
        return table.take(pa.array(order[last]))


SUMMARY = Kind(
    "summary", topics.SUMMARY, Summary, ("transformer_id", "start_s"), "start_s", _sampled
)
EVENT = Kind("event", topics.EVENT, Event, ("site", "event_id"), "at_s", None)
KINDS = {kind.topic: kind for kind in (SUMMARY, EVENT)}
