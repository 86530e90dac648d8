"""`pbal-hq all` and `pbal-hq run`: HQ itself."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from pbal_host import until_stopped
from pbal_hq import logs, roles
from pbal_hq.cli.base import ConfigOption
from pbal_hq.config import Config, load


async def _serve(config: Config, names: list[str]) -> None:
    await until_stopped(roles.run(config, names))


def run_all(config: ConfigOption = None) -> None:
    """Run all of HQ in one process until it is stopped. Example: pbal-hq all"""
    settings = load(config)
    logs.set_up(settings.log)
    asyncio.run(_serve(settings, roles.wanted(settings)))


def run(
    role: Annotated[list[str], typer.Argument(help=f"Of {', '.join(roles.ROLES)}.")],
    config: ConfigOption = None,
) -> None:
    """Run some of HQ's roles in this process; the others elsewhere on this computer.

    Example: pbal-hq run bridge decode
    """
    settings = load(config)
    logs.set_up(settings.log)
    asyncio.run(_serve(settings, list(dict.fromkeys(role))))
