"""`pbal-hq transformer`: the utility's transformers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pbal_hq.cli.base import (
    ConfigOption,
    JsonOption,
    group,
    noted,
    print_json,
    print_table,
    wait_for,
)
from pbal_hq.config import load
from pbal_hq.database import connected
from pbal_hq.errors import ConfigError
from pbal_hq.registry import Difference, add_transformer, differ, read_list, take

_SHOWN = 40

app = group("The utility's transformers. Example: pbal-hq transformer add TR-0012 --in KL/ERN/A/F1")


@app.command()
def add(
    code: Annotated[str, typer.Argument(help="The utility's own number of it.")],
    place: Annotated[str, typer.Option("--in", help="STATE/DISTRICT/DIVISION/FEEDER.")],
    name: Annotated[str, typer.Option(help="For people.")] = "",
    kva: Annotated[float | None, typer.Option(help="Rated power.", min=0.1)] = None,
    latitude: Annotated[float | None, typer.Option(min=-90, max=90)] = None,
    longitude: Annotated[float | None, typer.Option(min=-180, max=180)] = None,
    customers: Annotated[int | None, typer.Option(min=0)] = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Add one transformer; areas that are not there are made.

    Example: pbal-hq transformer add TR-0012 --in KL/ERN/ALU/F12 --kva 100
    """
    settings = load(config)

    async def work() -> int:
        async with connected(settings.database) as db:
            await noted(db, "transformer.add", f"transformer {code}", place=place)
            return await add_transformer(
                db, code, place, name=name, rated_kva=kva, latitude=latitude,
                longitude=longitude, customers=customers,
            )  # fmt: skip

    number = wait_for(work())
    if json_:
        print_json({"code": code, "id": number})
    else:
        print(f"transformer {code} added")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The utility's list, CSV in UTF-8.")],
    apply: Annotated[bool, typer.Option("--apply", help="Take it; without, only show.")] = False,
    retire: Annotated[
        bool, typer.Option("--retire", help="What the list lacks is out of service.")
    ] = False,
    column: Annotated[
        list[str] | None, typer.Option(help="OURS=THEIRS, where the file names it otherwise.")
    ] = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Show what a list of transformers would change, or take it.

    Example: pbal-hq transformer import list.csv --column code="DT Code" --apply
    """
    settings = load(config)
    names = {}
    for each in column or []:
        ours, equals, theirs = each.partition("=")
        if not equals or not theirs.strip():
            raise ConfigError(f"--column {each}: needs OURS=THEIRS, such as code=DT_CODE")
        names[ours.strip()] = theirs
    listed = read_list(file, names)

    async def work() -> Difference:
        async with connected(settings.database) as db:
            difference = await differ(db, listed)
            if apply:
                await noted(
                    db, "transformer.import", file.name, new=len(difference.new),
                    changed=difference.changes, retired=len(difference.absent) if retire else 0,
                )  # fmt: skip
                await take(db, listed, difference, retire=retire)
            return difference

    difference = wait_for(work())
    if json_:
        print_json({**asdict(difference), "applied": apply})
        return
    _show(difference, retire=retire)
    if not apply:
        print("Nothing is changed yet. Take it with --apply.")


def _show(difference: Difference, *, retire: bool) -> None:
    if difference.changed:
        shown = difference.changed[:_SHOWN]
        print_table(
            ("transformer", "what", "is", "becomes"),
            ((c.code, c.what, c.old, c.new) for c in shown),
        )
        if len(difference.changed) > len(shown):
            print(f"... and {len(difference.changed) - len(shown)} more changes (--json has all)")
    print(
        f"new {len(difference.new)}, changed {difference.changes}, the same {difference.same}, "
        f"not on the list {len(difference.absent)}"
        + (": out of service" if retire and difference.absent else "")
    )
