"""A site for the campaign: queues summaries and switchings, and sends them. Killed at any moment.

    python uplink_site.py JOURNAL PORT CA CERTIFICATE KEY COUNT FIRST

Prints "S start_s" or "E command_id" once that is in the journal, i.e. must reach HQ.
"""

import asyncio
import sys
import time
from pathlib import Path

from pbal_controller.config import UplinkConfig
from pbal_controller.journal import AsyncJournal, Journal
from pbal_controller.uplink import Uplink, outbox
from pbal_host import check_cancelled
from pbal_uplink import State, Summary

SITE = 7


def state(backlog: int, thinned: int) -> State:
    return State(site=SITE, at_s=int(time.time()), words=1, config_hash=bytes(8), window_s=300,
                 backlog=backlog, thinned=thinned)  # fmt: skip


class NoOrders:
    async def take(self, sealed: bytes) -> object:
        raise AssertionError("a command")


async def nothing() -> None:
    return None


def switched(journal: Journal) -> int:
    row = journal.new_command(257, 1, 2, 1000, 1060, "why", 1.0)
    journal.update_command(row.id, "confirmed", 1)
    return row.id


async def main(path: str, port: str, ca: str, cert: str, key: str, count: str, first: str) -> None:
    journal = AsyncJournal(path)
    await journal.open()
    await journal.call(outbox.switch, True)
    config = UplinkConfig(
        kind="sparkplug", host="localhost", port=int(port), group="north", ca=Path(ca),
        certificate=Path(cert), key=Path(key), spread_s=0, replay_per_s=500, retry_s=1,
        resend_s=3,
    )  # fmt: skip
    uplink = Uplink(journal, config, SITE, state, NoOrders(), nothing, time.time)

    async def produce() -> None:
        # What was noted before a kill is taken up first, as a controller does.
        await journal.call(outbox.take_facts, SITE)
        for n in range(int(first), int(first) + int(count)):
            start_s = 1_700_000_100 + 300 * n
            made = Summary(site=SITE, start_s=start_s, length_s=300)
            await journal.call(outbox.put, made, 1_000_000)
            print("S", start_s, flush=True)
            if n % 3 == 0:
                print("E", await journal.call(switched), flush=True)
            await journal.call(outbox.take_facts, SITE)
            uplink.wake()
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        group.create_task(uplink.run(check_cancelled))
        group.create_task(produce())


asyncio.run(main(*sys.argv[1:]))
