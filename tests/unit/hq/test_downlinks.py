"""Orders for sites over LoRaWAN: what goes into ChirpStack's queue, when again, and the whole way.

On the way are a real broker, the site's own LoRaWAN end and an emulated modem; the network server
between broker and modem is the few lines of `carry`, which do as ChirpStack does: one downlink of
the queue for each uplink (class A).
"""

import asyncio
import base64
import contextlib
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rigs import chirpstack
from rigs.chirpstack import APPLICATION, EUI, at_work, event, topic
from rigs.hq import execute
from rigs.uplink import a_state, no_reading, opened
from rigs.waiting import until

from pbal_controller.config import LorawanConfig, PlannerConfig, UplinkConfig
from pbal_controller.standing import Restraint
from pbal_controller.uplink import Commands, LorawanUplink
from pbal_host import check_cancelled
from pbal_hq.bus import New, topics
from pbal_hq.ingest import Out
from pbal_hq.ingest.downlinks import DOWN_PORT, Downlinks
from pbal_sim import lorawan
from pbal_uplink import BadMessage, Command, link, names, signing

SITE = 1009
HQ_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
APP_KEY, JOIN_EUI = "0123456789abcdef0123456789ABCDEF", "70b3d57ed0000001"
NOW = 1_800_000_000
WITHIN_S = 60.0


def sealed(command_id=5, now=NOW, key=HQ_KEY, mode=names.MODE_HOLD, **more):
    command = Command(site=SITE, command_id=command_id, issued_s=now, expires_s=now + 3600,
                      kind=names.COMMAND_MODE, mode=mode, detail="ann: storm", **more)  # fmt: skip
    return signing.seal(command, key)


def joined(downlinks):
    """The commands in downlinks."""
    joiner = link.Joiner()
    items = [item for each in downlinks for item in link.unpack(each.data)]
    return [whole for item in items if (whole := joiner.put(item)) is not None]


# -- the queue -----------------------------------------------------------------------------------


def test_an_order_goes_in_parts_once():
    queue = Downlinks(APPLICATION)
    out = queue.order(EUI, sealed(), NOW)
    assert len(out) > 1
    assert joined(out) == [sealed()]
    assert max(len(each.data) for each in out) <= 51
    assert {each.topic for each in out} == {f"application/{APPLICATION}/device/{EUI}/command/down"}
    said = json.loads(out[0].encode())
    assert said == {"devEui": EUI, "confirmed": False, "fPort": DOWN_PORT,
                    "data": base64.b64encode(out[0].data).decode()}  # fmt: skip
    assert queue.order(EUI, sealed(), NOW + 120) == [], "HQ hands it out again and again"


def test_what_was_lost_on_the_air_goes_again_once_the_queue_is_empty():
    queue = Downlinks(APPLICATION)
    parts = len(queue.order(EUI, sealed(), NOW))
    went = [len(queue.heard(EUI, APPLICATION, NOW + n)) for n in range(parts + 3)]
    assert went == [0] * (parts + 2) + [parts]
    went = [len(queue.heard(EUI, APPLICATION, NOW + n)) for n in range(parts + 3)]
    assert went == [0] * (parts + 2) + [parts], "no two copies at a time"
    queue.answered(EUI, 5)
    assert not any(queue.heard(EUI, APPLICATION, NOW + n) for n in range(20))


def test_a_site_that_never_answers_is_asked_four_times():
    queue = Downlinks(APPLICATION)
    sent = queue.order(EUI, sealed(), NOW)
    for n in range(100):
        sent += queue.heard(EUI, APPLICATION, NOW + n)
        sent += queue.order(EUI, sealed(), NOW + n)
    assert joined(sent) == [sealed()] * 4


def test_it_waits_until_the_device_says_of_which_application_it_is():
    queue = Downlinks()
    assert queue.order(EUI, sealed(), NOW) == []
    out = queue.heard(EUI, APPLICATION, NOW + 1)
    assert joined(out) == [sealed()]


def test_what_is_too_late_goes_nowhere():
    queue = Downlinks(APPLICATION)
    assert queue.order(EUI, sealed(), NOW + 3600) == []
    waits = Downlinks()
    waits.order(EUI, sealed(), NOW)
    assert waits.heard(EUI, APPLICATION, NOW + 3600) == []


def test_two_orders_of_one_site_and_none_for_another():
    queue = Downlinks(APPLICATION)
    first, second = sealed(5), sealed(6, mode=names.MODE_RUN)
    parts = [len(queue.order(EUI, each, NOW)) for each in (first, second)]
    for _ in range(sum(parts) + 2):
        assert queue.heard(EUI, APPLICATION, NOW) == []
        assert queue.heard("00" * 8, APPLICATION, NOW) == []
    assert joined(queue.heard(EUI, APPLICATION, NOW)) == [first, second]


def test_what_is_no_order_is_said():
    with pytest.raises(BadMessage):
        Downlinks(APPLICATION).order(EUI, bytes(100), NOW)


# -- the whole way -------------------------------------------------------------------------------


@pytest.fixture
async def hq(tmp_path, database_url):
    return await chirpstack.registered(tmp_path, database_url)


class Air(lorawan.Network):
    """What a site sends is published, and one downlink of the queue is given for each uplink."""

    def __init__(self):
        super().__init__(APP_KEY, JOIN_EUI)
        self.queue = asyncio.Queue()
        self.lose = 0  # so many of the next downlinks

    def uplink(self, port, data):
        taken = super().uplink(port, data)
        self.queue.put_nowait(data)
        return taken


@contextlib.asynccontextmanager
async def carry(air, network):
    """ChirpStack between the broker and the air."""
    async with network.client() as client:
        await client.subscribe(f"application/{APPLICATION}/device/+/command/down", qos=1)

        async def down():
            async for message in client.messages:
                said = json.loads(message.payload)
                assert said["devEui"] == EUI
                if air.lose:
                    air.lose -= 1
                    continue
                air.downlinks.append((said["fPort"], base64.b64decode(said["data"])))

        async def up():
            while True:
                await client.publish(topic(), json.dumps(event(await air.queue.get())), qos=1)

        tasks = [asyncio.create_task(down()), asyncio.create_task(up())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def site_at_work(modem, tmp_path, monkeypatch):
    """A site's LoRaWAN end, with its pauses at a fraction of their length."""
    for name, value in (("_OPEN_S", (0.05, 0.2)), ("_JOIN_S", (0.05, 0.2)),
                        ("_TRY_S", (0.05, 0.2)), ("_TICK_S", 0.01)):  # fmt: skip
        monkeypatch.setattr(f"pbal_controller.uplink.lorawan.{name}", value)
    key = tmp_path / "app.key"
    key.touch(mode=0o600)
    key.write_text(APP_KEY)
    table = LorawanConfig(modem="rak3172", port=modem.port, region="EU868", join_eui=JOIN_EUI,
                          app_key_file=key, adr=False)  # fmt: skip
    table = table.model_copy(update={"every_s": 0.05})
    public = HQ_KEY.public_key().public_bytes_raw().hex()
    config = UplinkConfig(kind="lorawan", lorawan=table, acknowledged_by="broker",
                          hq_keys=(public,), allow=("mode",))  # fmt: skip
    journal = await opened(tmp_path / "j.db")
    restraint = Restraint()
    orders = Commands(journal, config, PlannerConfig(), SITE, restraint, time.time)
    uplink = LorawanUplink(journal, config, a_state, orders, no_reading)
    task = asyncio.create_task(uplink.run(check_cancelled))
    try:
        yield restraint, orders, uplink
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])
        await journal.close()


async def test_an_order_reaches_a_site_over_lorawan_and_is_answered(
    hq, network, tmp_path, monkeypatch
):
    """The first part is lost on the air; a forged order changes nothing."""
    air = Air()
    now = int(time.time())
    forged = sealed(4, now, OTHER_KEY)
    good = sealed(5, now)
    async with (
        at_work(hq, network) as (_, bus),
        lorawan.Rak3172(air) as modem,
        carry(air, network),
        site_at_work(modem, tmp_path, monkeypatch) as (restraint, orders, uplink),
    ):
        await until(lambda: uplink.born and air.uplinks, WITHIN_S, "the site joins")
        air.lose = 1
        key = f"lorawan/{EUI}"
        for each in (forged, good):
            await bus.append([New(topics.OUT, key, Out(command=each.hex()).encode())])

        async def sends():
            # A site's windows, in quick succession.
            while True:
                await uplink._end.say_state()
                await asyncio.sleep(0.3)

        windows = asyncio.create_task(sends())
        try:
            await until(lambda: restraint.mode.value == "hold", WITHIN_S, "the order comes")
            answer = "SELECT 1 FROM event WHERE command_id = 5"
            await until(lambda: execute(hq.url, answer), WITHIN_S, "an answer comes")
            await until(lambda: orders.refused_total, WITHIN_S, "the forged one comes")
        finally:
            windows.cancel()
    found = execute(hq.url, "SELECT site_id, outcome FROM event WHERE command_id IS NOT NULL")
    assert found == [(SITE, names.OUTCOME_DONE)]


async def test_the_next_part_is_asked_for(tmp_path, monkeypatch):
    """One uplink is enough for a whole order: each part that is not the last asks for the next."""
    air = Air()
    parts = link.split(sealed(now=int(time.time())), 51)
    assert len(parts) >= 3
    air.downlinks.extend((DOWN_PORT, link.pack([part])) for part in parts)
    async with (
        lorawan.Rak3172(air) as modem,
        site_at_work(modem, tmp_path, monkeypatch) as (restraint, _, _),
    ):
        await until(lambda: restraint.mode.value == "hold", WITHIN_S, "it asks")
        # The State at the start, one for each part but the last, the answer.
        await until(lambda: len(air.uplinks) == len(parts) + 1, WITHIN_S, "the answer")
        await asyncio.sleep(0.5)
        assert len(air.uplinks) == len(parts) + 1
