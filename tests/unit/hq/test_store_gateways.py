"""Sites behind a gateway: their messages become rows on a real database, and no others do."""

import asyncio

import pytest
from rigs.hq import execute
from rigs.storeroad import HOUR_S, NODE, dead, hq, one, place, road, summary, token

from pbal_hq.bus import topics
from pbal_hq.database import connected
from pbal_hq.enrol import revoke
from pbal_hq.errors import BadInput, NothingToDo
from pbal_hq.ingest import Out
from pbal_uplink import Event, State

__all__ = ["hq", "place"]


async def test_a_site_behind_a_gateway_is_a_site(hq):
    await hq.add_site(8, gateway=7)
    state8 = State(site=8, at_s=HOUR_S, words=1, config_hash=bytes(8), window_s=300, name="hill")
    theirs, own = summary(site=8), summary()
    live = "SELECT online, state->>'name' FROM site_live WHERE site_id = 8"
    async with road(hq) as r:
        await r.birth()
        await r.device("DBIRTH", "8", state8)
        await r.device("DDATA", "8", theirs, Event(site=8, event_id=5, at_s=HOUR_S, kind=2))
        await r.say(own)
        await r.settle()
        assert sorted(execute(hq.url, "SELECT site_id FROM summary")) == [(7,), (8,)]
        assert one(hq, "SELECT site_id FROM event") == (8,)
        assert one(hq, live) == (True, "hill")
        outs = await r.bus.read(topics.OUT, -1, 100)
        assert {record.key for record in outs} == {NODE, f"{NODE}/8"}
        assert token(theirs) in await r.told()
        # The gateway goes, and with it all that it brings.
        await r.death()
        await r.settle()
        assert one(hq, live) == (False, "hill")
        await r.birth()
        await r.device("DBIRTH", "8", state8)
        await r.device("DDEATH", "8")
        await r.settle()
        assert one(hq, live) == (False, "hill")
        assert one(hq, "SELECT online FROM site_live WHERE site_id = 7") == (True,)
        assert dead(hq) == []


async def test_a_gateway_speaks_for_no_site_that_is_not_behind_it(hq):
    """Neither for a site with a link of its own, nor for one behind another gateway."""
    for number in (8, 9):
        await hq.add_site(number)
        await hq.certificate(number)
    await hq.add_site(10, gateway=9)
    async with road(hq) as r:
        await r.birth()
        for number in (8, 10):
            await r.device("DDATA", str(number), summary(site=number))
        await r.say(summary(site=10), node="pbal/10")
        await r.settle()
        assert execute(hq.url, "SELECT site_id FROM summary") == []
        assert dead(hq) == ["no site of this group and node is registered"] * 3
        assert await r.told() == []


async def test_a_revoked_site_or_gateway_brings_nothing(hq):
    await hq.add_site(8, gateway=7)
    async with connected(hq.config.database) as db:
        done = await revoke(db, hq.config, 8, "stolen")
    assert (done.behind, done.trouble) == (True, "")
    async with road(hq) as r:
        await r.birth()
        await r.device("DBIRTH", "8")
        await r.device("DDATA", "8", summary(site=8))
        await r.settle()
        assert set(dead(hq)) == {"the site is revoked or removed"}
        execute(hq.url, "UPDATE site SET revoked_at = NULL")
        await r.device("DDATA", "8", summary(1, site=8))
        await r.settle()
        assert execute(hq.url, "SELECT site_id FROM summary") == [(8,)]
        execute(hq.url, "UPDATE certificate SET revoked_at = now()")
        await r.device("DDATA", "8", summary(2, site=8))
        await r.settle()
        assert execute(hq.url, "SELECT count(*) FROM summary") == [(1,)]


async def test_a_gap_among_devices_asks_the_gateway(hq):
    await hq.add_site(8, gateway=7)
    async with road(hq) as r:
        await r.birth()
        await r.device("DBIRTH", "8")
        r._seq += 1  # one is lost
        await r.device("DDATA", "8", summary(site=8))
        await r.settle()
        await asyncio.sleep(0.01)
        await r.settle()
        asked = [(x.key, Out.decode(x.value)) for x in await r.bus.read(topics.OUT, -1, 100)]
        assert (NODE, Out(rebirth=True)) in asked


@pytest.mark.parametrize("gateway", [99, 8])
async def test_a_gateway_is_a_site_with_a_link_of_its_own(hq, gateway):
    await hq.add_site(8, gateway=7)
    with pytest.raises((BadInput, NothingToDo)):
        await hq.add_site(9, gateway=gateway)


async def test_a_gateway_takes_twenty(hq):
    for number in range(20):
        await hq.add_site(100 + number, gateway=7)
    with pytest.raises(BadInput, match="takes 20"):
        await hq.add_site(200, gateway=7)
