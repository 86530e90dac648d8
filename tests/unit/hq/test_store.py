"""From the bus to rows on a real database: each once, history apart, dead letters.

Every test runs on plain PostgreSQL and, where long tests run, on TimescaleDB (rigs/timescale.py).
"""

import asyncio
import datetime

import pytest
from rigs.hq import execute
from rigs.poison import poison
from rigs.storeroad import HOUR_S, NODE, dead, hq, one, place, road, summary, token

from pbal_hq.alarms import take_events
from pbal_hq.bus import topics
from pbal_hq.config import IngestConfig
from pbal_hq.database import connected
from pbal_hq.enrol import revoke
from pbal_hq.ingest import Out
from pbal_hq.store import prune, sum_due
from pbal_uplink import Event, State, Summary, names

__all__ = ["hq", "place"]


async def test_every_field_arrives_as_it_was_sent(hq):
    told = summary(
        ia_mean_a=12.3, va_mean_v=230.01, vuf_percent=1.25, losses_avoided_wh=-40, hotspot_c=66.5,
        homes=30, confirmed=2, mode=names.MODE_DRY_RUN, ea_import_kwh=3.14,
    )  # fmt: skip
    async with road(hq) as r:
        await r.say(told)
        await r.settle()
        assert await r.told() == [token(told)]
    fields = [f.name for f in Summary.DECLARED if f.name not in ("site", "start_s")]
    row = one(hq, f"SELECT site_id, extract(epoch FROM start_at)::bigint, {', '.join(fields)} "
              "FROM summary")  # fmt: skip
    assert row[:2] == (7, HOUR_S)
    for name, found in zip(fields, row[2:], strict=True):
        expected = getattr(told, name)
        assert found == (None if expected is None else pytest.approx(expected, rel=1e-6)), name


async def test_the_same_message_is_one_row_and_told_again(hq):
    async with road(hq) as r:
        await r.say(summary(), summary(), summary(1))
        await r.settle()
        await r.say(summary())
        await r.settle()
        assert sorted(await r.told()) == sorted([*[token(summary())] * 3, token(summary(1))])
    assert one(hq, "SELECT count(*) FROM summary") == (2,)


async def test_the_fuller_of_two_summaries_of_a_window_stays(hq):
    reading = summary(length_s=100, ia_max_a=50)
    whole = summary(ia_max_a=80)
    for order in ((reading, whole), (whole, reading)):
        async with road(hq) as r:
            await r.say(order[0])
            await r.settle()
            await r.say(order[1])
            await r.settle()
        assert one(hq, "SELECT length_s, ia_max_a FROM summary") == (300, 80.0)
        execute(hq.url, "TRUNCATE summary")


async def test_history_does_not_disturb_the_present(hq):
    now = State(site=7, at_s=HOUR_S + 900, words=1, config_hash=bytes(8), window_s=300, homes=9)
    async with road(hq) as r:
        await r.birth(now)
        await r.say(summary(5))
        await r.settle()
        before = one(hq, "SELECT online, summary_at, state_at, state FROM site_live")
        await r.say(*(summary(n) for n in range(3)), historical=True)
        old = State(site=7, at_s=HOUR_S, words=1, config_hash=bytes(8), window_s=300, homes=1)
        await r.say(old)
        await r.settle()
    assert one(hq, "SELECT online, summary_at, state_at, state FROM site_live") == before
    assert before[0] is True
    assert before[3]["homes"] == 9
    assert one(hq, "SELECT count(*), count(*) FILTER (WHERE historical) FROM summary") == (4, 3)


async def test_births_and_deaths_are_the_presence(hq):
    async with road(hq) as r:
        await r.birth(bdseq=3)
        await r.settle()
        assert one(hq, "SELECT online FROM site_live") == (True,)
        await r.death(bdseq=2)
        await r.settle()
        assert one(hq, "SELECT online FROM site_live") == (True,)
        await r.death(bdseq=3)
        await r.settle()
        assert one(hq, "SELECT online FROM site_live") == (False,)


async def test_what_cannot_be_used_is_kept_with_its_reason(hq):
    await hq.add_site(8)
    await hq.certificate(8)
    day = 86_400
    late = summary(start_s=HOUR_S - 95 * day)
    early = summary(start_s=HOUR_S + 3 * day)
    async with road(hq) as r:
        await r.raw("NDATA", b"\xff\xff")
        await r.say(summary(site=8))
        await r.say(summary(), node="elsewhere/7")
        await r.say(summary(), node="pbal/99")
        await r.raw("DDATA", b"")
        await r.say(late, early, summary(1))
        await r.settle()
        # What is refused for its time is kept here, and is not to come again.
        assert set(await r.told()) == {token(late), token(early), token(summary(1))}
    reasons = sorted(dead(hq))
    for part in (
        "DDATA is not for", "from the future", "it says that it is of site 8", "no Sparkplug",
        "no site of this group", "no site of this group", "older than what is kept",
    ):  # fmt: skip
        found = next(reason for reason in reasons if part in reason)
        reasons.remove(found)
    assert reasons == []
    assert one(hq, "SELECT count(*) FROM summary") == (1,)


async def test_nothing_is_taken_of_a_revoked_site(hq):
    async with road(hq) as r:
        async with connected(hq.config.database) as db:
            await revoke(db, hq.config, 7, "stolen")
        await r.say(summary())
        await r.settle()
        assert await r.told() == []
        assert dead(hq) == ["the site is revoked or removed"]
        await hq.certificate(7)  # enrolled anew
        await r.say(summary())
        await r.settle()
        assert await r.told() == [token(summary())]


async def test_a_text_that_the_database_cannot_hold_stops_nothing(hq):
    event = Event(site=7, event_id=1, at_s=HOUR_S, kind=names.KIND_NODE, detail="a\0b")
    async with road(hq) as r:
        await r.say(event, summary())
        await r.settle()
    assert one(hq, "SELECT detail FROM event") == ("a\N{REPLACEMENT CHARACTER}b",)


async def test_a_row_that_the_database_refuses_holds_up_no_other(hq):
    execute(hq.url, "ALTER TABLE summary ADD CHECK (ia_max_a <> 13)")
    async with road(hq) as r:
        await r.say(summary(0), summary(1, ia_max_a=13), summary(2))
        await r.settle()
        assert len(await r.told()) == 3
    assert one(hq, "SELECT count(*) FROM summary") == (2,)
    assert "the database refuses it" in dead(hq)[0]


async def test_events_are_kept_once_by_their_id(hq):
    huge = (1 << 64) - 1
    told = Event(site=7, event_id=huge, at_s=HOUR_S, kind=names.KIND_SWITCHING, severity=1,
                 address=257, outcome=names.OUTCOME_CONFIRMED, from_phase=1, to_phase=2,
                 command_id=huge - 1, arg0=-5)  # fmt: skip
    async with road(hq) as r:
        await r.say(told, told)
        await r.settle()
    row = one(hq, "SELECT event_id, command_id, address, arg0, trace FROM event")
    assert row == (-1, -2, 257, -5, token(told))


async def test_an_answer_ends_its_order_and_no_other(hq):
    await hq.add_site(8)
    for number, site in ((1, 7), (2, 8)):
        execute(
            hq.url,
            "INSERT INTO command (id, site_id, kind, fields, status, asked_by, expires_at) "
            "VALUES (%s, %s, 5, '{}', 'sent', 'x', now() + interval '1 hour')",
            number, site,
        )  # fmt: skip
    async with road(hq) as r:
        for number in (1, 2):
            await r.say(
                Event(site=7, event_id=number, at_s=HOUR_S, kind=names.KIND_ANSWER,
                      outcome=names.OUTCOME_REFUSED, command_id=number, detail="no")
            )  # fmt: skip
        await r.settle()
    found = execute(hq.url, "SELECT status, answer FROM command ORDER BY id")
    assert found == [("refused", "no"), ("sent", "")]


async def test_hours_and_days_follow_what_changes(hq):
    async with road(hq) as r:
        await r.say(
            summary(0, ia_mean_a=10, ia_max_a=20, ea_import_kwh=1, va_mean_v=230, confirmed=1),
            summary(1, ia_mean_a=40, ia_max_a=90, ea_import_kwh=2, complete_percent=50),
        )
        await r.settle()
        await sum_due(r.database, lambda: None)
        assert one(
            hq,
            "SELECT sampled_s, windows, ia_mean_a, ia_max_a, ea_import_kwh, va_mean_v, vb_mean_v, "
            "confirmed FROM summary_hourly",
        ) == (450.0, 2, 20.0, 90.0, 3.0, 230.0, None, 1)
        await r.say(summary(2, ia_mean_a=20, ea_import_kwh=4), historical=True)
        await r.say(summary(12, ia_mean_a=5, ia_max_a=99, ea_import_kwh=8))
        await r.settle()
        await sum_due(r.database, lambda: None)
    hours = execute(hq.url, "SELECT windows, ea_import_kwh FROM summary_hourly ORDER BY start_at")
    assert hours == [(3, 7.0), (1, 8.0)]
    days = execute(
        hq.url, "SELECT sum(windows), sum(ea_import_kwh), max(ia_max_a) FROM summary_daily"
    )
    assert days == [(4, 15.0, 99.0)]
    assert execute(hq.url, "SELECT * FROM summary_due") == []


async def test_what_is_too_old_goes_by_days(hq):
    now = datetime.datetime.now(datetime.UTC)
    async with road(hq, store=hq.config.store.model_copy(update={"raw_days": 3660})) as r:
        await r.say(*(summary(start_s=HOUR_S - d * 86_400) for d in (0, 50, 88, 92, 200)))
        await r.settle()
        await sum_due(r.database, lambda: None)
        async with connected(hq.config.database) as db:
            gone = await prune(db, hq.config, now)
    assert gone["days"] == 2
    assert one(hq, "SELECT count(*) FROM summary") == (3,)
    assert one(hq, "SELECT sum(windows) FROM summary_hourly") == (5,)


async def test_what_was_told_of_homes_goes_after_its_time(hq):
    now = datetime.datetime.now(datetime.UTC)
    ages = {1: 40, 2: 50, 3: 10, 4: 60}  # days, by the event's id; each has its alarm
    kinds = dict.fromkeys(ages, names.KIND_QUARANTINE) | {4: names.KIND_AUDIT}
    async with connected(hq.config.database) as db:
        for number, days in ages.items():
            at = now - datetime.timedelta(days=days)
            await db.execute(
                "INSERT INTO event (site_id, event_id, transformer_id, at, received_at, kind,"
                " severity, address, code, outcome, from_phase, to_phase, command_id, arg0, arg1,"
                " detail) SELECT 7, %s, transformer_id, %s, %s, %s, 2, %s, 0, 0, 0, 0, 0, 0, 0, ''"
                " FROM site",
                (number, at, at, kinds[number], number),
            )
        await take_events(db)
        # The second one is still open; an open alarm is never forgotten.
        await db.execute("UPDATE alarm SET closed_at = last_at WHERE address <> 2")
        await db.commit()
        store = hq.config.store.model_copy(update={"event_days": 30})
        gone = await prune(db, hq.config.model_copy(update={"store": store}), now)
        assert (gone["events"], gone["alarms"]) == (2, 1)
        await db.commit()
        while await take_events(db):
            pass
    assert execute(hq.url, "SELECT event_id FROM event ORDER BY 1") == [(3,), (4,)]
    assert execute(hq.url, "SELECT address FROM alarm ORDER BY 1") == [(2,), (3,), (4,)]


async def test_a_sites_dead_letters_are_bounded(hq):
    async with road(hq) as r:
        for n in range(9):
            await r.raw("NDATA", b"\xff%d" % n)
        await r.settle()
    settings = hq.config.model_copy(update={"ingest": IngestConfig(dead_per_site=4)})
    async with connected(hq.config.database) as db:
        await prune(db, settings, datetime.datetime.now(datetime.UTC))
    found = [bytes(p) for (p,) in execute(hq.url, "SELECT payload FROM dead_letter ORDER BY id")]
    assert found == [b"\xff5", b"\xff6", b"\xff7", b"\xff8"]


async def test_what_is_not_of_its_form_is_a_dead_letter_and_delays_nothing(hq):
    records, letters = poison(NODE)
    del letters["out"]  # the bridge's
    async with road(hq) as r:
        await r.bus.append(records)
        await r.birth()
        await r.say(summary(0))
        await r.settle()
    assert one(hq, "SELECT count(*) FROM summary") == (1,)
    found = execute(hq.url, "SELECT kind, count(*) FROM dead_letter GROUP BY kind")
    assert dict(found) == letters
    assert "Summary" in one(hq, "SELECT string_agg(reason, ';') FROM dead_letter")[0]


async def test_a_missing_message_asks_for_a_rebirth_once(hq):
    async with road(hq) as r:
        await r.birth()
        await r.say(summary(0))
        r._seq += 1
        await r.say(summary(1))
        await r.settle()
        await asyncio.sleep(0.01)
        await r.settle()
        await r.settle()
        outs = [Out.decode(x.value) for x in await r.bus.read(topics.OUT, -1, 100)]
        assert sum(out.rebirth for out in outs) == 1
    assert one(hq, "SELECT count(*) FROM summary") == (2,)


async def test_a_restarted_decoder_knows_its_nodes(hq):
    async with road(hq) as r:
        await r.birth()
        await r.say(summary(0))
        await r.settle()
        seq = r._seq
    async with road(hq) as r:
        r._seq = seq
        await r.say(summary(1))
        await r.settle()
        assert not any(Out.decode(x.value).rebirth for x in await r.bus.read(topics.OUT, -1, 100))
        assert len(await r.told()) == 2
