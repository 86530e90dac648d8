"""`pbal commission survey`: is the radio link of a home good, before the crew leaves the pole?"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from pbal_host import counted

from ..errors import CheckFailed
from ..output import JsonFlag, check_picture, emit
from ..statusclient import bearer
from . import survey as surveys


def survey(
    address: Annotated[
        list[int] | None, typer.Argument(help="The homes. Default: every home with a radio.")
    ] = None,
    url: Annotated[
        str, typer.Option("--url", help="The site's controller, as for pbal monitor.")
    ] = "http://127.0.0.1:8480",
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=3600, help="At most; less when all are good.")
    ] = 120.0,
    margin: Annotated[
        float,
        typer.Option("--margin", min=0, max=40, help="What a good link has to spare, dB."),
    ] = surveys.MARGIN_DB,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw it: .png or .svg.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="PBAL_TOKEN_FILE", help="Holds the token of http.token_file there."),
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Watch how well homes are heard over the radio, until each link is good.

    A node with power asks to join by itself, and the controller gives it a slot; both are seen
    here. Run it at the pole, move the antenna while it runs, and leave when it ends with exit code
    0. It ends with 7 when a home was not heard, or heard with less than --margin to spare. Nodes
    that are heard and are no home of the controller's are told, too.

    Example:  pbal commission survey 12 --url http://pbal-7.local:8480 --picture pole12.png
    """
    if picture is not None:
        check_picture(picture)
    found = surveys.Survey(margin, frozenset(address or ()))

    def tell(now: surveys.Survey) -> None:
        if sys.stderr.isatty() and not json_output:
            good = len(now.homes) - len(now.bad())
            print(f"\r{good} of {len(now.homes)} good ", end="", file=sys.stderr, flush=True)

    asyncio.run(surveys.watch(found, url, seconds, bearer(token_file), tell))
    if picture is not None:
        surveys.save(found, picture)
    emit(found.as_dict(), json_output, lambda data: print("\n".join(surveys.lines(found))))
    if not found.homes and not found.missing:
        raise CheckFailed(
            "The controller has no home with a radio.",
            "Add it to the site: paths = [{ bearer = ... }] of a [radio.NAME] (docs/radio.md).",
        )
    bad = [home.address for home in found.bad()] + found.missing
    if bad:
        raise CheckFailed(
            f"{counted(len(bad), 'home')} without a good link: "
            f"{', '.join(str(one) for one in bad[:10])}.",
            "Turn or raise the antenna, look at its plug, and run this again; a home that is "
            "silent may have another region, channel or key, or need a greater sf than its radio "
            "has in pbal.toml (docs/radio.md, A home that is never heard).",
        )
