"""`pbal-hq transformer`: the utility's transformers."""

from __future__ import annotations

from typing import Annotated

import typer

from pbal_hq.cli.base import ConfigOption, JsonOption, group, print_json, wait_for
from pbal_hq.config import load
from pbal_hq.database import connected
from pbal_hq.registry import add_transformer

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
            return await add_transformer(
                db, code, place, name=name, rated_kva=kva, latitude=latitude,
                longitude=longitude, customers=customers,
            )  # fmt: skip

    number = wait_for(work())
    if json_:
        print_json({"code": code, "id": number})
    else:
        print(f"transformer {code} added")
