"""`pbal-hq db`: the database's schema."""

from __future__ import annotations

from pbal_hq.cli.base import ConfigOption, JsonOption, group, print_json, wait_for
from pbal_hq.cli.cluster import cluster, prove_backup
from pbal_hq.config import Config, load
from pbal_hq.database import Step, connected
from pbal_hq.database import migrate as apply_steps
from pbal_hq.database import pending as not_applied

app = group("The database's schema. Example: pbal-hq db migrate")
app.command()(cluster)
app.command("prove-backup")(prove_backup)


@app.command()
def migrate(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Bring the schema to this program's version. Example: pbal-hq db migrate"""

    async def work(settings: Config) -> list[Step]:
        async with connected(settings.database) as db:
            return await apply_steps(db, timescale=settings.store.timescale)

    _tell(wait_for(work(load(config))), json_, "applied", "the schema is up to date")


@app.command()
def pending(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Say which steps of the schema are not applied yet. Example: pbal-hq db pending"""

    async def work(settings: Config) -> list[Step]:
        async with connected(settings.database) as db:
            return await not_applied(db)

    _tell(wait_for(work(load(config))), json_, "pending", "the schema is up to date")


def _tell(found: list[Step], json_: bool, word: str, none: str) -> None:
    if json_:
        print_json([{"number": step.number, "name": step.name} for step in found])
        return
    for step in found:
        print(f"{word}: {step.number:04d} {step.name}")
    if not found:
        print(none)
