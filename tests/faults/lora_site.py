"""A site behind a gateway: queues summaries, and sends them over its radio. Killed at any moment.

    python lora_site.py JOURNAL SITE ROOT HQ_KEY COUNT FIRST

Prints "S start_s" once that is in the journal, i.e. must reach HQ, and "M mode" when HQ ordered it.
"""

import asyncio
import sys
import time

from pbal_controller.bearers.lora import RadioConfig
from pbal_controller.config import PlannerConfig, UplinkConfig
from pbal_controller.journal import AsyncJournal
from pbal_controller.standing import Restraint
from pbal_controller.uplink import Commands, LoraUplink, outbox
from pbal_host import check_cancelled
from pbal_uplink import State, Summary

RADIO = RadioConfig(region="EU868", sf=7, power_dbm=11)
START_S = 1_700_000_100 // 300 * 300


async def nothing() -> None:
    return None


async def main(path: str, number: str, root: str, public: str, count: str, first: str) -> None:
    site = int(number)
    journal = AsyncJournal(path)
    await journal.open()
    await journal.call(outbox.switch, True)
    config = UplinkConfig(
        kind="lora", radio="link", hq_keys=(public,), allow=("mode",), spread_s=0, resend_s=20,
    )  # fmt: skip
    restraint = Restraint()
    orders = Commands(journal, config, PlannerConfig(), site, restraint, time.time)
    await orders.restore()

    def state(backlog: int, thinned: int) -> State:
        return State(site=site, at_s=int(time.time()), words=1, config_hash=bytes(8),
                     window_s=300, backlog=backlog, thinned=thinned, name="hill")  # fmt: skip

    link = LoraUplink(journal, config, RADIO, bytes.fromhex(root), site, state, orders, nothing,
                      time.time)  # fmt: skip

    async def produce() -> None:
        said = ""
        for n in range(int(first), int(first) + int(count)):
            made = Summary(site=site, start_s=START_S + 300 * n, length_s=300, ia_mean_a=n % 50)
            await journal.call(outbox.put, made, 1_000_000)
            print("S", made.start_s, flush=True)
            await asyncio.sleep(0.7)
        while True:
            if restraint.mode.value != said:
                said = restraint.mode.value
                print("M", said, flush=True)
            await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as group:
        group.create_task(link.run(check_cancelled))
        group.create_task(produce())


asyncio.run(main(*sys.argv[1:]))
