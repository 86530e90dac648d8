"""The options of `pbal study fleet` as one object."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..output import JsonFlag
from .common import CommonOptions, number, report

if TYPE_CHECKING:
    from pbal_study.fleet import FleetOptions

_fleet = partial(typer.Option, rich_help_panel="The fleet")
_work = partial(typer.Option, rich_help_panel="Who does the work")


@dataclass(frozen=True)
class FleetFiles:
    """What `pbal study fleet` reads, and where the work is done."""

    table: Annotated[
        Path | None,
        typer.Argument(help="CSV of stations: station,feeder,homes,kva,...; see docs/fleet.md."),
    ] = None
    feeders: Annotated[
        Path | None,
        _fleet("--feeders", help="Without a table: a folder of OpenDSS feeders."),
    ] = None
    customers: Annotated[
        Path | None,
        _fleet("--customers", help="CSV: station,home,phase,class; a row per home."),
    ] = None
    profiles: Annotated[
        Path | None,
        _fleet("--profiles", help="The pool that homes draw their profile from."),
    ] = None
    classes: Annotated[
        Path | None, _fleet("--classes", help="CSV: profile,class, for the columns of the pool.")
    ] = None
    rank_by: Annotated[
        str,
        _fleet(
            "--rank-by",
            help="money, return, capacity, violations, losses or neutral; else money where it is "
            "known, else capacity.",
        ),
    ] = ""
    workers: Annotated[
        int, _work("--workers", min=0, max=4096, help="Processes; 0: one for each processor.")
    ] = 0
    scheduler: Annotated[
        str,
        _work("--scheduler", help="A Dask scheduler, such as tcp://10.0.0.1:8786."),
    ] = ""
    limit: Annotated[
        float,
        _work("--limit", callback=number, min=1, help="Time limit for one station, s."),
    ] = 3600.0
    retry_failed: Annotated[
        bool, _work("--retry-failed", help="Study those anew that failed before.")
    ] = False


@dataclass(frozen=True)
class FleetCommandOptions(CommonOptions, FleetFiles):
    """All options of `pbal study fleet`."""

    top: Annotated[
        int, report("--top", min=0, max=100_000, help="Stations to list on the screen.")
    ] = 10
    out: Annotated[
        Path | None,
        report("--out", help="Folder for the report, the tables, and what is done so far."),
    ] = None
    json_output: JsonFlag = False

    def fleet(self) -> "FleetOptions":
        """The options of the fleet study itself."""
        from pbal_study.fleet import FleetOptions

        return FleetOptions(
            table=self.table,
            feeders=self.feeders,
            customers=self.customers,
            classes=self.classes,
            shared=replace(
                self.shared(), profiles=self.profiles, controllers=("as_built", "pbal"), brief=True
            ),
            rank_by=self.rank_by,
            workers=self.workers,
            scheduler=self.scheduler,
            limit_s=self.limit,
            retry_failed=self.retry_failed,
        )
