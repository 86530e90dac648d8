"""What is done in a thread is waited for, whoever is told to end."""

import asyncio
import threading

import pytest

from pbal_hq.lake.writer import in_thread


async def test_a_writer_that_is_told_twice_to_end_waits_for_its_thread():
    may_end, ended = threading.Event(), []

    def write():
        may_end.wait(60)
        ended.append(True)

    task = asyncio.create_task(in_thread(write))
    await asyncio.sleep(0.05)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.05)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
