"""`pbal-hq all` and `pbal-hq run`: HQ itself."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from pbal_hq import logs, roles
from pbal_hq.cli.base import ConfigOption
from pbal_hq.config import Config, load


async def _until_stopped(config: Config, names: list[str]) -> None:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        await roles.run(config, names)
    except asyncio.CancelledError:
        if not stopping:
            raise


def run_all(config: ConfigOption = None) -> None:
    """Run all of HQ in one process until it is stopped. Example: pbal-hq all"""
    settings = load(config)
    logs.set_up(settings.log)
    asyncio.run(_until_stopped(settings, list(roles.ROLES)))


def run(
    role: Annotated[list[str], typer.Argument(help=f"Of {', '.join(roles.ROLES)}.")],
    config: ConfigOption = None,
) -> None:
    """Run some of HQ's roles in this process; the others elsewhere on this computer.

    Example: pbal-hq run bridge decode
    """
    settings = load(config)
    logs.set_up(settings.log)
    asyncio.run(_until_stopped(settings, list(dict.fromkeys(role))))
