"""A bus with store and lake on it, one step at a time, and summaries for both."""

import contextlib
import datetime
import random

from pbal_hq.bus import FileBus, New, topics
from pbal_hq.config import LakeConfig
from pbal_hq.database import connected, pool
from pbal_hq.ingest.wording import Message
from pbal_hq.lake import LakeWriter, Part, differences, lake_of
from pbal_hq.store import Writer, sum_due
from pbal_uplink import Summary
from rigs.hq import Headquarters

NOW = datetime.datetime.now(datetime.UTC)
TODAY = NOW.date()
DAY = datetime.timedelta(days=1)


class Enough(Exception):
    """The loop has done what there was."""


def start_s(day: datetime.date) -> int:
    return Part(day, "").start_s


def said(message, site=None, received=None, **more):
    """A record on the bus, as the decoder makes it."""
    site = message.site if site is None else site
    at = message.start_s if isinstance(message, Summary) else message.at_s
    topic = topics.SUMMARY if isinstance(message, Summary) else topics.EVENT
    received_ms = (received or at + 310) * 1000
    body = Message(f"{site:08x}{at:08x}", received_ms, False, message.as_dict(), **more)
    return New(topic, f"{GROUPS.get(site, 'kerala')}/{site}", body.encode())


GROUPS = {8: "goa"}


def summaries(day, sites=(7, 8), step=6, seed=1):
    """A day's summaries with figures of all sizes, some not known."""
    dice = random.Random(seed)
    for n in range(0, 288, step):
        for site in sites:
            yield Summary(
                site=site, start_s=start_s(day) + 300 * n, length_s=300,
                complete_percent=dice.choice((100, 100, 93, 0)), homes=30,
                in_mean_a=dice.random() * 40, in_max_a=60 + dice.random(),
                va_min_v=dice.choice((None, 207 + dice.random())), va_max_v=240 + dice.random(),
                pvur_percent=dice.choice((None, dice.random() * 3)),
                ea_import_kwh=dice.random() * 5, eb_import_kwh=dice.random() * 5,
                ec_export_kwh=dice.random(), load_max_percent=dice.random() * 120,
                losses_avoided_wh=None if site == 8 else dice.randint(-20, 200),
                confirmed=dice.randint(0, 3), failed=dice.randint(0, 1),
            )  # fmt: skip


class Road:
    """A bus with store and lake on it."""

    def __init__(self, hq, bus, database, config):
        self.bus, self.database, self.config = bus, database, config
        self.writer = Writer(bus, database, config.store)
        self.lake = lake_of(config.lake)
        self.hq = hq

    async def say(self, *messages):
        await self.bus.append([said(m) if not isinstance(m, New) else m for m in messages])

    async def stored(self):
        await self._through(self.writer.run)
        await sum_due(self.database, lambda: None)

    async def kept(self, rounds=3):
        """A fresh writer, as after a kill, until nothing waits."""
        writer = LakeWriter(self.bus, self.database, self.config, self.lake, "lake")
        await self._through(writer.run, rounds)
        return writer

    async def _through(self, loop, rounds=3):
        left = rounds

        def beat():
            nonlocal left
            left -= 1
            if not left:
                raise Enough

        with contextlib.suppress(Enough):
            await loop(beat)

    async def differ(self, since=TODAY - 3 * DAY, until=TODAY):
        async with connected(self.config.database) as db:
            rows, different = await differences(db, self.lake, since, until)
        return rows, [str(each) for each in different]


@contextlib.asynccontextmanager
async def road_at(folder, database_url, url, **more):
    """An HQ of two sites, with a new lake at a URL."""
    hq = Headquarters(folder, database_url)
    for site in (7, 8):
        await hq.add_site(site, group=GROUPS.get(site, "kerala"))
        await hq.certificate(site)
    table = LakeConfig(url=url, flush_s=0.001, **more)
    config = hq.config.model_copy(update={"lake": table})
    made = lake_of(config.lake)
    made.place.init(encrypted=made.sealing.ring is not None)
    async with FileBus(config.data / "bus" / "bus.db") as bus, pool(config.database) as database:
        yield Road(hq, bus, database, config)
