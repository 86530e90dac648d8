"""`pbal sim fleet`: sites enrol, connect and report through HQ's real way in."""

import asyncio
import contextlib
import time

import pytest
from rigs.hq import execute

from pbal_hq import roles
from pbal_hq.config import IngestConfig
from pbal_sim.hq import free_port
from pbal_tools.errors import InputError, UnreachableError
from pbal_tools.fleetload import Fleet, Plan, Street, read_tokens


async def test_what_a_fleet_says_becomes_rows(hq, tmp_path):
    port = free_port()
    settings = hq.config.model_copy(
        update={
            "enrol": hq.config.enrol.model_copy(update={"port": port}),
            "ingest": IngestConfig(stored_batch=2, stored_within_s=0.5),
        }
    )
    tokens = {site: await hq.add_site(site) for site in (7, 8, 9)}
    names = [name for name in roles.wanted(settings) if name != "portal"]
    running = asyncio.create_task(roles.run(settings, names))
    plan = Plan(tokens, f"https://localhost:{port}", tmp_path / "sites", 0.01, past=4)
    assert plan.window_s == 300
    fleet = Fleet(plan, lambda line: None)
    try:
        for _ in range(600):  # until enrolment is open
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.1)
        load = asyncio.create_task(fleet.run())
        for _ in range(900):
            await asyncio.sleep(0.1)
            if load.done() or fleet.counts["stored"] >= 12:
                break
        load.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await load
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert fleet.counts["enrolled"] == 3
    assert fleet.counts["stored"] >= 12
    found = execute(
        hq.url, "SELECT site_id, extract(epoch FROM start_at)::bigint, ia_mean_a FROM summary"
    )
    assert len(found) == len({row[:2] for row in found}) >= 12
    for site, start_s, amps in found:
        assert amps == pytest.approx(Street.of(site).summary(start_s, 300).ia_mean_a, rel=1e-6)
    assert execute(hq.url, "SELECT count(*) FROM site_live WHERE state->>'homes' <> '0'") == [(3,)]


def test_a_rate_that_gives_no_window_is_refused(tmp_path):
    for rate in (30, 0.001):
        with pytest.raises(InputError, match="windows of"):
            Fleet(Plan(dict.fromkeys(range(10), ""), "", tmp_path, rate), print)


def test_a_list_that_is_none_is_refused(tmp_path):
    for text in ("a,b\n1,2\n", "site,token\nx,y\n", "\0"):
        (tmp_path / "t.csv").write_text(text)
        if text == "\0":
            assert read_tokens(tmp_path / "t.csv") == {}
            continue
        with pytest.raises(InputError, match="no list of tokens"):
            read_tokens(tmp_path / "t.csv")
    with pytest.raises(InputError):
        read_tokens(tmp_path / "none.csv")


async def test_without_hq_it_says_so(tmp_path):
    token = "pbal1.AAAAAAAAAAAAAAAAAAAAAA.aaaaaaaaaaaaaaaaaaaaaaaaaa"
    plan = Plan({7: token}, f"https://localhost:{free_port()}", tmp_path, 1)
    with pytest.raises(UnreachableError, match="no answer"):
        await Fleet(plan, print).run()


def test_a_streets_day_is_plausible():
    noon = int(time.time()) // 86_400 * 86_400
    for site in range(1, 200):
        street = Street.of(site)
        day = [street.summary(noon + 3600 * hour, 300) for hour in range(24)]
        for s in day:
            sums = (s.ia_mean_a - s.ib_mean_a) + (s.ib_mean_a - s.ic_mean_a)
            assert sums == pytest.approx(s.ia_mean_a - s.ic_mean_a, abs=0.11)
            assert s.in_mean_a <= max(s.ia_mean_a, s.ib_mean_a, s.ic_mean_a)
            assert s.losses_avoided_wh >= 0
            assert 30 <= s.hotspot_c < 250
        assert max(day, key=lambda s: s.ia_mean_a).start_s // 3600 % 24 in range(18, 23)
