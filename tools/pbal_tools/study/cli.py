"""`pbal study`: what balancing would gain on a street, as a report."""

import os
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import typer

from pbal_study.errors import InputError

from ..context import app_context
from ..extras import require
from ..optionobject import from_options
from .fleet import fleet
from .fleetoptions import FleetCommandOptions
from .options import StudyOptions
from .screen import finish, run_with_progress

app = typer.Typer(
    pretty_exceptions_enable=False,
    add_completion=False,
)

_EPILOG = (
    "Examples:  pbal study --demo --out demo_study   |   pbal study --feeder Master.dss "
    "--profiles year.csv.gz --participation 0.5 --out my_study"
)

_FLEET_EPILOG = (
    "Examples:  pbal study fleet stations.csv --profiles pool.csv.gz --out my_fleet   |   "
    "pbal study fleet --feeders networks --profiles pool.csv.gz --days 7 --out my_fleet"
)


@app.callback(invoke_without_command=True, epilog=_EPILOG)
@from_options(StudyOptions)
def study(ctx: typer.Context, options: StudyOptions) -> None:
    """What pbal would do for a feeder.

    Simulates as built, best static, pbal and the hindsight optimum side by side with an exact
    unbalanced power flow, and writes a report (HTML), all figures (JSON) and tables (CSV).
    """
    if ctx.invoked_subcommand is not None:
        return
    # Before NumPy is loaded: on matrices of this size a second BLAS thread only spins, and doubles
    # the processor time of a power flow.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    options.check()
    with ExitStack() as stack:
        if options.demo:
            options = _demo(stack, options)
        if options.profiles is None and options.feeder is None:
            raise InputError(
                "No profiles are given.",
                "Use --profiles P.csv with --feeder or --homes, or try:  pbal study --demo",
            )
        if options.feeder is not None:
            require("study", "dss")
        _check_folder(options.out, options.feeder, options.profiles, options.homes)
        quiet = options.json_output or app_context(ctx).quiet
        result = run_with_progress(options.study(), quiet)
    finish(result, options.out, options.json_output)


app.command("fleet", epilog=_FLEET_EPILOG)(from_options(FleetCommandOptions)(fleet))


def _demo(stack: ExitStack, options: StudyOptions) -> StudyOptions:
    """The options with the demonstration's files, which are written."""
    if options.feeder is not None or options.profiles is not None:
        raise InputError(
            "--demo brings its own feeder and profiles.", "Leave out --demo, or the files."
        )
    from .demo import write_demo

    _check_folder(options.out)
    folder = options.out or Path(
        stack.enter_context(tempfile.TemporaryDirectory(prefix="pbal-study-"))
    )
    feeder, profiles = write_demo(folder, options.days or 7.0, options.seed)
    return replace(options, feeder=feeder, profiles=profiles)


def _check_folder(out: Path | None, *inputs: Path | None) -> None:
    if out is None:
        return
    # Reported now, not after an hour of simulation.
    require("study", "matplotlib")
    from pbal_study.report import check_folder

    check_folder(out, inputs)
