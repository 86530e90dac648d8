"""A program that is told to stop ends, also where a library swallows the cancellation."""

import asyncio
import logging
import os
import signal
import time

import pytest

from pbal_host import stopping, until_stopped


async def swallows(times: int) -> None:
    """Goes on through so many cancellations, as `asyncio.wait_for` may before Python 3.12."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            times -= 1
            if times < 0:
                raise


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_a_task_that_goes_on_is_told_again(
    times: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stopping, "AGAIN_S", 0.05)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(swallows(times), name="the deaf one")
            group.create_task(swallows(0), name="another")

    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(60):
            assert await until_stopped(work())
    told = [record.tasks for record in caplog.records]
    assert len(told) >= times
    assert all("the deaf one" in each and "another" not in each for each in told)


async def test_who_ends_at_once_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "AGAIN_S", 0.05)
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
    assert await until_stopped(swallows(0))
    # Nobody is told any more: the main task goes on with what comes after.
    began = time.monotonic()
    await asyncio.sleep(0.2)
    assert time.monotonic() - began >= 0.2
