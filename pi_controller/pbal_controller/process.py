"""The process around a controller: its event loop, signals and descriptors."""

from __future__ import annotations

import asyncio
import logging
import resource
import selectors

from pbal_controller.app import Controller
from pbal_controller.config import Config
from pbal_controller.keys import KeyStore
from pbal_controller.standby import LeaseLost
from pbal_host import until_stopped

log = logging.getLogger(__name__)

SELECT_LIMIT = 1024


def loop_factory() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are good to microseconds.

    epoll rounds every wait up to a millisecond, which is more than half of the silence
    between two Modbus frames; select does not. The controller has few descriptors, and `run`
    and its unit file keep them below select's limit of 1024.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def serve(config: Config, keys: KeyStore) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP. Raises ControllerErrors that a person can act on."""
    if await until_stopped(_again_and_again(config, keys)):
        log.info("controller stops")


async def _again_and_again(config: Config, keys: KeyStore) -> None:
    while True:
        try:
            return await Controller(config, keys).run()
        except LeaseLost as lost:
            # The other controller of this site goes on. A new one here knows nothing of before.
            log.warning("the lease is lost, this controller follows", extra={"why": str(lost)})
            keys.reload()


def _stay_below_select() -> None:
    """No descriptor that select does not know, also where no unit file sees to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > SELECT_LIMIT:
        resource.setrlimit(resource.RLIMIT_NOFILE, (SELECT_LIMIT, hard))


def run(config: Config, keys: KeyStore) -> None:
    """Run the controller in an event loop of its own."""
    _stay_below_select()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(config, keys))
