"""Hours are summed up while the store writes: no row is left out."""

import asyncio
import datetime

from pbal_hq.config import DatabaseConfig
from pbal_hq.database import connected
from pbal_hq.store import series, sums
from pbal_uplink import Summary


async def test_an_hour_is_summed_with_every_row_that_is_on_its_way(database_url):
    """A store's transaction is open while the sums of its hour are made: an earlier row had noted
    the hour already. What it commits then is in the next sums."""
    config = DatabaseConfig(url=database_url)
    start = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)

    def row(n):
        at = start + n * datetime.timedelta(minutes=5)
        said = Summary(site=7, start_s=int(at.timestamp()), length_s=300, complete_percent=100)
        return series.Row(1, at, 7, False, at, said.as_dict())

    async def windows(db):
        found = await db.execute("SELECT windows FROM summary_hourly")
        rows = await found.fetchall()
        await db.commit()
        return rows

    async with connected(config) as store, connected(config) as other, connected(config) as summing:
        async with store.transaction():
            await series.insert(store, [row(0)])
        async with store.transaction():
            await series.insert(store, [row(1)])
            assert await sums.sum_up(summing) == 0, "it is left until the store is done"
        assert await sums.sum_up(summing) == 1
        assert await windows(summing) == [(2,)]
        # The other way round: the sums of the hour are being made, and the store comes.
        async with store.transaction():
            await series.insert(store, [row(2)])
        async with summing.transaction():
            assert await sums.sum_up(summing) == 1

            async def comes():
                async with other.transaction():
                    await series.insert(other, [row(3)])

            late = asyncio.create_task(comes())
            await asyncio.sleep(0.2)
        await late
        assert await sums.sum_up(summing) == 1
        assert await windows(summing) == [(4,)]
