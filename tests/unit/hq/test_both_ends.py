"""A controller's own enrolment, uplink and renewing against HQ's roles; then it is revoked."""

import asyncio
import contextlib
import datetime
import logging
import time

from rigs.hq import execute
from rigs.uplink import NoOrders, config, no_reading, opened

from pbal_controller.uplink import KeyFile, Uplink, certificate, enrolment, outbox
from pbal_host import check_cancelled
from pbal_hq import alarms, roles
from pbal_hq.config import IngestConfig
from pbal_hq.database import connected
from pbal_hq.enrol import revoke
from pbal_sim.hq import free_port
from pbal_uplink import Event, State, Summary
from pbal_uplink import names as names_

SITE = 1007
START_S = int(time.time()) // 300 * 300 - 86_400


@contextlib.asynccontextmanager
async def going(work):
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition, seconds=90):
    for _ in range(int(seconds * 10)):
        if await condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("nothing came in time")


def state(backlog, thinned):
    return State(site=SITE, at_s=int(time.time()), words=1, config_hash=bytes(8), window_s=300,
                 homes=12, backlog=backlog, thinned=thinned, name="Mill")  # fmt: skip


async def answers(url, token):
    """HQ's authority once the endpoint is up."""
    for _ in range(300):
        with contextlib.suppress(Exception):
            return await enrolment.authority(url, token)
        await asyncio.sleep(0.1)
    return await enrolment.authority(url, token)


def traced(caplog, trace):
    """What was logged with this trace id, in its order."""
    said = [each for each in caplog.records if getattr(each, "trace", "") == trace]
    return [each.message for each in said]


async def test_a_site_enrols_reports_renews_and_is_revoked(hq, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    port = free_port()
    settings = hq.config.model_copy(
        update={
            "enrol": hq.config.enrol.model_copy(update={"port": port}),
            "ingest": IngestConfig(stored_batch=4, stored_within_s=1.0),
        }
    )
    url = f"https://localhost:{port}"
    token = await hq.add_site(SITE, group="kerala", node="mill-7")
    pem, ca = tmp_path / "site.pem", tmp_path / "ca.pem"
    key = KeyFile(tmp_path / "site.key")
    journal = await opened(tmp_path / "j.db")

    async def rows():
        found = await asyncio.to_thread(execute, hq.url, "SELECT count(*) FROM summary")
        return found[0][0]

    async def take(given):
        now = datetime.datetime.now(datetime.UTC)
        certificate.install(pem, key, given.certificate, given.authority, now)
        certificate.settle(pem, key)

    names = [name for name in roles.wanted(settings) if name != "portal"]
    try:
        async with going(roles.run(settings, names)):
            trusted = await answers(url, token)
            ca.write_text(trusted)
            given = await enrolment.enrol(url, token, certificate.request(key, "1007"), trusted)
            assert (given.site, given.group, given.node) == (SITE, "kerala", "mill-7")
            await take(given)
            how = config(hq.pki, given.port, (pem, key.path), host=given.host, group=given.group,
                         node=given.node, primary_host=given.host_id, ca=ca)  # fmt: skip
            uplink = Uplink(journal, how, SITE, state, NoOrders(), no_reading, time.time)
            async with going(uplink.run(check_cancelled)):
                for n in range(10):
                    made = Summary(site=SITE, start_s=START_S + 300 * n, length_s=300,
                                   complete_percent=100, ia_mean_a=n)  # fmt: skip
                    await journal.call(outbox.put, made, 1000)
                alarm = Event(site=SITE, event_id=1, at_s=START_S, kind=names_.KIND_QUARANTINE,
                              severity=names_.ALARM, address=5)  # fmt: skip
                await journal.call(outbox.put, alarm, 1000)
                uplink.wake()

                async def all_told():
                    return await journal.call(outbox.backlog) == 0

                await until(all_told)
                assert await rows() == 10
                async with connected(settings.database) as db:
                    await alarms.take_events(db)
                ((trace,),) = execute(hq.url, "SELECT trace FROM event")
                # One id from the site's log over HQ's to the alarm.
                assert traced(caplog, trace) == [
                    "event for HQ", "event stored", "event is an alarm"]  # fmt: skip
                live = execute(hq.url, "SELECT online, state->>'name' FROM site_live")
                assert live == [(True, "Mill")]
                before = pem.read_bytes()
                await take(await enrolment.renew(url, certificate.request(key, "x"), ca, pem, key))
                assert pem.read_bytes() != before

                async def summed():
                    found = await asyncio.to_thread(
                        execute, hq.url, "SELECT sum(windows) FROM summary_daily"
                    )
                    return found == [(10,)]

                await until(summed)
                async with connected(settings.database) as db:
                    assert (await revoke(db, settings, SITE, "stolen")).trouble == ""

                async def refused():
                    return "revoked" in uplink.why

                await until(refused)
    finally:
        await journal.close()
