"""Sites over LoRaWAN at HQ: events as ChirpStack publishes them, on a real broker, to rows."""

import asyncio
import json
import time

import pytest
from rigs import chirpstack, needs
from rigs.chirpstack import APPLICATION, EUI, STRANGER, at_work, event, topic
from rigs.hq import execute

from pbal_hq import roles
from pbal_hq.config import ChirpstackConfig, Config
from pbal_hq.errors import ConfigError
from pbal_hq.ingest.chirpstack import Uplink, read
from pbal_uplink import BadMessage, Event, State, Summary, brief, metrics, names

HOUR_S = int(time.time()) // 3600 * 3600 - 3600
SUMMARY = Summary(
    site=1009, start_s=HOUR_S, length_s=900, ia_mean_a=41, ib_mean_a=80, ic_mean_a=22, homes=30,
    va_mean_v=229.75, complete_percent=100,
)  # fmt: skip


# -- one event -----------------------------------------------------------------------------------


def test_what_an_event_brings():
    found = read(topic(EUI), json.dumps(event(b"\x01\x02")).encode())
    assert found == Uplink(APPLICATION, EUI, 10, b"\x01\x02")
    upper = event(b"\x01", EUI.upper())
    assert read(topic(EUI), json.dumps(upper).encode()).dev_eui == EUI
    empty = event(b"")
    del empty["fPort"]
    assert read(topic(EUI), json.dumps(empty).encode()) is None, "LoRaWAN's own"


@pytest.mark.parametrize(
    ("where", "payload", "words"),
    [
        (topic(), b"\n\x24" + bytes(30), "json=true"),
        (topic(), b"[]", "json=true"),
        (topic(), b'{"deviceInfo": {}}', "json=true"),
        (topic(), json.dumps(event(b"") | {"data": "%%"}).encode(), "json=true"),
        (topic(), json.dumps(event(b"x") | {"fPort": "ten"}).encode(), "json=true"),
        (topic(), json.dumps(event(b"x", STRANGER)).encode(), f"{STRANGER} came as one of {EUI}"),
        ("application/1/device/2/event/join", b"{}", "no topic of ChirpStack's uplinks"),
    ],
)
def test_what_is_no_event(where, payload, words):
    with pytest.raises(BadMessage, match=words):
        read(where, payload)


def test_the_role_is_there_where_it_has_something_to_do():
    assert "chirpstack" not in roles.wanted(Config())
    table = {"host": "lora.example", "ca": "/ca", "certificate": "/crt", "key": "/key"}
    assert "chirpstack" in roles.wanted(Config.model_validate({"chirpstack": table}))
    with pytest.raises(ConfigError, match=r"set chirpstack\.host"):
        asyncio.run(roles.run(Config(), ["chirpstack"]))


# -- the road ------------------------------------------------------------------------------------


@pytest.fixture
async def hq(tmp_path, database_url):
    return await chirpstack.registered(tmp_path, database_url)


async def until(hq, sql, expected, tasks=()):
    for _ in range(int(needs.PATIENCE_S * 10)):
        found = await asyncio.to_thread(execute, hq.url, sql)
        if found == expected or any(task.done() for task in tasks):
            break
        await asyncio.sleep(0.1)
    assert found == expected


async def heard(hq, network, sql, *events):
    """Say it until HQ has heard: its session begins with its first connection."""
    for _ in range(200):
        await network.say(*events)
        if await asyncio.to_thread(execute, hq.url, sql):
            return
        await asyncio.sleep(0.2)
    pytest.fail("HQ hears nothing")


async def test_a_site_over_lorawan_is_a_site_like_any_other(hq, network):
    """Summary, event and state of a controller's own brief forms; once each, however often said."""
    switched = Event(
        site=1009, event_id=77, at_s=HOUR_S, kind=names.KIND_SWITCHING, address=258, outcome=1,
        from_phase=1, to_phase=2, detail="house 12",
    )  # fmt: skip
    state = State(site=1009, at_s=HOUR_S, words=1, config_hash=bytes(8), window_s=900, homes=30)
    said = [(topic(), event(brief.encode(each))) for each in (SUMMARY, switched, state)]
    async with at_work(hq, network) as (tasks, _):
        await heard(hq, network, "SELECT 1 FROM summary", *said)
        await until(hq, "SELECT count(*) FROM event", [(1,)], tasks)
        await network.say(*said)
        await until(hq, "SELECT state ->> 'homes' FROM site_live", [("30",)], tasks)
        await until(
            hq, "SELECT site_id, ia_mean_a, ib_mean_a, homes FROM summary",
            [(1009, 41.0, 80.0, 30)], tasks,
        )  # fmt: skip
        await until(hq, "SELECT address, outcome, detail FROM event", [(258, 1, "house 12")], tasks)
        await until(hq, "SELECT online FROM site_live", [(True,)], tasks)
    assert execute(hq.url, "SELECT reason FROM dead_letter") == []
    assert len(execute(hq.url, "SELECT 1 FROM site_session")) == 1, "came once"


async def test_what_waited_at_the_broker_while_hq_was_away(hq, network):
    async with at_work(hq, network) as (tasks, _):
        first = topic(), event(brief.encode(SUMMARY))
        await heard(hq, network, "SELECT 1 FROM summary", first)
        await until(hq, "SELECT count(*) FROM summary", [(1,)], tasks)
    later = Summary(**(SUMMARY.as_dict() | {"start_s": HOUR_S + 900}))
    await network.say((topic(), event(brief.encode(later))))
    async with at_work(hq, network) as (tasks, _):
        await until(hq, "SELECT count(*) FROM summary", [(2,)], tasks)
    assert len(execute(hq.url, "SELECT 1 FROM site_session")) == 1, "online before, and still"


async def test_what_cannot_be_used_is_kept_with_its_reason(hq, network):
    body = brief.encode(SUMMARY)
    wrong = [
        (topic(STRANGER), event(body, STRANGER)),
        (topic(), event(body, port=3)),
        (topic(), event(b"\xff" * 20)),
        (topic(), b"not json"),
    ]
    async with at_work(hq, network) as (tasks, _):
        await heard(hq, network, "SELECT 1 FROM dead_letter", *wrong)
        await network.say((topic(), event(body)))
        await until(hq, "SELECT count(*) FROM summary", [(1,)], tasks)
    reasons = " | ".join(r for (r,) in execute(hq.url, "SELECT reason FROM dead_letter"))
    for words in ("no site has this DevEUI", "fPort 3: pbal sends on 10", "is not known",
                  "json=true"):  # fmt: skip
        assert words in reasons


async def test_a_site_that_falls_silent_is_offline_until_it_is_heard(hq, network):
    ahead = 0.0
    async with at_work(hq, network, lambda: time.time() + ahead) as (tasks, _):
        first = topic(), event(brief.encode(SUMMARY))
        await heard(hq, network, "SELECT 1 FROM summary", first)
        await until(hq, "SELECT online FROM site_live", [(True,)], tasks)
        ahead = network.config.silent_s + 60
        await until(hq, "SELECT online FROM site_live", [(False,)], tasks)
        ahead += 60
        await network.say((topic(), event(brief.encode(SUMMARY))))
        await until(hq, "SELECT online FROM site_live", [(True,)], tasks)


def test_the_token_is_that_of_the_message_that_arrives():
    """So the same message over Sparkplug and over LoRaWAN's brief form are told apart, and each
    is one row however often it comes.
    """
    arrived = brief.arrives(SUMMARY)
    assert metrics.token(arrived) == metrics.token(brief.decode(brief.encode(SUMMARY), 1009))


def test_half_a_configuration_is_refused():
    with pytest.raises(ValueError, match="needs `ca`, `certificate` and `key`"):
        ChirpstackConfig(host="lora.example")
