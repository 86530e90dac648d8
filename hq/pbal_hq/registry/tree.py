"""Areas (state / district / division / feeder) and the transformers on feeders."""

from __future__ import annotations

from pbal_hq.database import Connection
from pbal_hq.errors import BadInput, NothingToDo

LEVELS = ("state", "district", "division", "feeder")
# The condition that `t`, a transformer, is in the area that is asked for, or that none is.
IN_AREA = (
    "(%(area)s::int IS NULL"
    " OR t.feeder_id IN (SELECT area_id FROM area_within WHERE ancestor_id = %(area)s))"
)


async def area_path(db: Connection, path: str) -> int:
    """The feeder of a path such as "Kerala/Ernakulam/Aluva/F12"; what is not there is made.

    Raises BadInput.
    """
    parts = [part.strip() for part in path.split("/")]
    if len(parts) != len(LEVELS) or not all(parts):
        raise BadInput(f"{path!r}: needs {'/'.join(LEVELS).upper()}, for example KL/ERN/ALU/F12")
    above: int | None = None
    for level, code in zip(LEVELS, parts, strict=True):
        if len(code) > 64:
            raise BadInput(f"{code!r}: at most 64 characters")
        cursor = await db.execute(
            "INSERT INTO area (parent_id, level, code, name) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (parent_id, code) DO UPDATE SET code = EXCLUDED.code RETURNING id",
            (above, level, code, code),
        )
        row = await cursor.fetchone()
        assert row is not None
        above = int(row[0])
    assert above is not None
    return above


async def area_of(db: Connection, path: str) -> int:
    """The area of a path of one to four codes, such as "KL/ERN". Raises NothingToDo."""
    above: int | None = None
    for code in path.split("/"):
        cursor = await db.execute(
            "SELECT id FROM area WHERE parent_id IS NOT DISTINCT FROM %s::int AND code = %s",
            (above, code.strip()),
        )
        row = await cursor.fetchone()
        if row is None:
            raise NothingToDo(f"there is no area {path}: give codes from the state down, as KL/ERN")
        above = int(row[0])
    assert above is not None
    return above


async def add_transformer(
    db: Connection,
    code: str,
    path: str,
    *,
    name: str = "",
    rated_kva: float | None = None,
    latitude: float | None = None,
    longitude: float | None = None,
    customers: int | None = None,
) -> int:
    """A new transformer; returns its id. Raises BadInput: there is one of this code."""
    feeder = await area_path(db, path)
    cursor = await db.execute(
        "INSERT INTO transformer (code, name, feeder_id, rated_kva, latitude, longitude, "
        "customers) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (code) DO NOTHING RETURNING id",
        (code, name, feeder, rated_kva, latitude, longitude, customers),
    )
    row = await cursor.fetchone()
    if row is None:
        raise BadInput(f"there is a transformer {code} already")
    return int(row[0])


async def transformer_of(db: Connection, code: str) -> int:
    """The id of a transformer. Raises NothingToDo."""
    cursor = await db.execute("SELECT id FROM transformer WHERE code = %s", (code,))
    row = await cursor.fetchone()
    if row is None:
        raise NothingToDo(
            f"there is no transformer {code}; pbal-hq transformer add {code} --in "
            "STATE/DISTRICT/DIVISION/FEEDER, or import the utility's list"
        )
    return int(row[0])
