"""The schema's numbered steps: `schema/NNNN_name.sql`, each applied once, in one transaction.

Expand, then contract: a step never takes away what the program before it needs, so old and new
programs work side by side while they are changed one after the other. What nobody needs any more
goes a release later, by a step with the line `-- oldest: NNNN`: a program that does not know step
NNNN cannot run on it. A step that was applied is never edited; its SHA-256 is kept, and another one
is an error.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

import psycopg

from pbal_hq.database.pool import Connection, explain
from pbal_hq.errors import DatabaseError

# Only one program changes the schema at a time (pg_advisory_lock); any number of ours.
_LOCK = 0x7062616C


@dataclass(frozen=True)
class Step:
    """One step of the schema."""

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """SHA-256 of its text, hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def oldest(self) -> int:
        """Programs that do not know this step cannot run on it; 0: every one can."""
        found = re.search(r"^-- oldest: (\d+)$", self.sql, re.MULTILINE)
        return int(found[1]) if found else 0


def steps() -> list[Step]:
    """All steps that this program knows, in order."""
    folder = resources.files("pbal_hq.database").joinpath("schema")
    found = []
    for entry in folder.iterdir():
        if entry.name.endswith(".sql"):
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            found.append(Step(int(number), name, entry.read_text(encoding="utf-8")))
    return sorted(found, key=lambda step: step.number)


async def _applied(db: Connection) -> dict[int, tuple[str, int | None]]:
    """(digest, oldest) of each step that is there; None: nobody said which programs it suits."""
    # Older programs made the table without its last column.
    cursor = await db.execute(
        "SELECT number, digest, (to_jsonb(s) ->> 'oldest')::int FROM schema_step s"
    )
    return {int(number): (str(digest), old) for number, digest, old in await cursor.fetchall()}


async def _make_table(db: Connection) -> None:
    await db.execute(
        "CREATE TABLE IF NOT EXISTS schema_step (number int PRIMARY KEY, name text NOT NULL, "
        "digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), oldest int)"
    )
    await db.execute("ALTER TABLE schema_step ADD COLUMN IF NOT EXISTS oldest int")


async def pending(db: Connection, known: list[Step] | None = None) -> list[Step]:
    """The steps that are not applied yet.

    Raises DatabaseError: a program so much newer that this one does not fit its schema, or an
    edited step, made it.
    """
    known = steps() if known is None else known
    cursor = await db.execute("SELECT to_regclass('schema_step') IS NOT NULL")
    row = await cursor.fetchone()
    applied = await _applied(db) if row is not None and row[0] else {}
    numbers = {step.number for step in known}
    newest = max(numbers, default=0)
    strange = [
        number
        for number, (_, oldest) in sorted(applied.items())
        if number not in numbers and (oldest is None or oldest > newest)
    ]
    if strange:
        raise DatabaseError(
            f"the database has step {strange[0]:04d}, which this program does not know: "
            "a newer pbal made it; install that one"
        )
    for step in known:
        if step.number in applied and applied[step.number][0] != step.digest:
            raise DatabaseError(
                f"step {step.number:04d}_{step.name} is not the one that was applied to this "
                "database; restore the program that belongs to it"
            )
    return [step for step in known if step.number not in applied]


async def migrate(
    db: Connection, *, timescale: str = "auto", known: list[Step] | None = None
) -> list[Step]:
    """Apply what is pending; returns it. Raises DatabaseError; a failed step leaves nothing."""
    try:
        await db.commit()
        await db.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        await db.commit()
        try:
            return await _all_steps(db, timescale, known)
        finally:
            await db.rollback()
            await db.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
            await db.commit()
    except psycopg.Error as error:
        raise DatabaseError(explain(error)) from error


async def _all_steps(db: Connection, timescale: str, known: list[Step] | None) -> list[Step]:
    await _make_table(db)
    await db.commit()
    todo = await pending(db, known)
    for step in todo:
        try:
            await db.execute("SELECT set_config('pbal.timescale', %s, true)", (timescale,))
            await db.execute(step.sql.encode())
        except psycopg.Error as error:
            await db.rollback()
            raise DatabaseError(f"step {step.number:04d}_{step.name}: {explain(error)}") from error
        await db.execute(
            "INSERT INTO schema_step (number, name, digest, oldest) VALUES (%s, %s, %s, %s)",
            (step.number, step.name, step.digest, step.oldest),
        )
        await db.commit()
    return todo
