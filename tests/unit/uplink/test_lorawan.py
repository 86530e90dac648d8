"""The uplink through a LoRaWAN modem, on emulated ones of both dialects."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tomllib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rigs.uplink import a_state, no_reading, opened

from pbal_controller.config import LorawanConfig, PlannerConfig, UplinkConfig
from pbal_controller.errors import ConfigError
from pbal_controller.standing import Restraint
from pbal_controller.uplink import Commands, LorawanUplink, load_modem, outbox, read_app_key
from pbal_controller.uplink.modem import folder
from pbal_host import check_cancelled
from pbal_sim.lorawan import MurataAbz, Network, Rak3172
from pbal_uplink import Command, Event, Summary, brief, link, metrics, names, signing

SITE = 7
START_S = 1_700_000_100 // 300 * 300
APP_KEY, JOIN_EUI = "0123456789abcdef0123456789ABCDEF", "70b3d57ed0000001"
HQ_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
KINDS = {"rak3172": Rak3172, "murata-abz": MurataAbz}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses as they are, at a fraction of their length."""
    for name, value in (
        ("_OPEN_S", (0.05, 0.2)), ("_JOIN_S", (0.05, 0.2)), ("_TRY_S", (0.05, 0.2)),
        ("_BUSY_S", 0.05), ("_RESTRICTED_S", 0.1), ("_TICK_S", 0.01),
    ):  # fmt: skip
        monkeypatch.setattr(f"pbal_controller.uplink.lorawan.{name}", value)


@pytest.fixture(params=sorted(KINDS))
async def modem(request):
    async with KINDS[request.param](Network(APP_KEY, JOIN_EUI)) as made:
        yield made


def kind(modem):
    return next(name for name, cls in KINDS.items() if isinstance(modem, cls))


def an_uplink(journal, modem, tmp_path, **more):
    key = tmp_path / "app.key"
    key.touch(mode=0o600)
    key.write_text(APP_KEY + "\n")
    given = {"adr": False, "data_rate": 0} | more.pop("lorawan", {})
    table = LorawanConfig(
        modem=kind(modem), port=modem.port, region="EU868", join_eui=JOIN_EUI, app_key_file=key,
        **given,
    )  # fmt: skip
    table = table.model_copy(update={"every_s": 0.01})
    public = HQ_KEY.public_key().public_bytes_raw().hex()
    config = UplinkConfig(
        **{"kind": "lorawan", "lorawan": table, "acknowledged_by": "broker", "hq_keys": (public,),
           "allow": ("mode",), "resend_s": 2.0} | more
    )  # fmt: skip
    restraint = Restraint()
    orders = Commands(journal, config, PlannerConfig(), SITE, restraint, time.time)
    return LorawanUplink(journal, config, a_state, orders, no_reading), restraint


@contextlib.asynccontextmanager
async def going(uplink):
    task = asyncio.create_task(uplink.run(check_cancelled))
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not (condition() if not asyncio.iscoroutinefunction(condition) else await condition()):
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.02)


async def fill(journal, count):
    made = [Summary(site=SITE, start_s=START_S + 300 * n, length_s=300) for n in range(count)]
    for each in made:
        await journal.call(outbox.put, each, 100_000)
    return made


def heard(modem):
    return [brief.decode(data, SITE) for port, data in modem.network.uplinks if port == 10]


def empty(journal):
    async def ask():
        return await journal.call(outbox.backlog) == 0

    return ask


async def test_everything_arrives_in_51_bytes_over_a_bad_network(modem, tmp_path):
    journal = await opened(tmp_path / "j.db")
    want = await fill(journal, 4)
    event = Event(site=SITE, event_id=9, at_s=START_S, kind=2, detail="a long text for a person")
    await journal.call(outbox.put, event, 100)
    modem.network.refused_joins = 2
    modem.network.lost = 3
    modem.busy, modem.restricted_ms = 2, 100
    uplink, _ = an_uplink(journal, modem, tmp_path)
    async with going(uplink):
        await until(empty(journal))
        assert uplink.born
    assert max(len(data) for _, data in modem.network.uplinks) <= 51
    messages = heard(modem)
    assert [m for m in messages if isinstance(m, Summary)] == want
    (got,) = [m for m in messages if isinstance(m, Event)]
    assert (got.event_id, got.detail) == (9, "a long text f")
    assert uplink.failed_total == 6
    assert any("JOIN" in line for line in modem.said)
    await journal.close()


async def test_with_hq_as_host_a_message_waits_for_stored(modem, tmp_path):
    journal = await opened(tmp_path / "j.db")
    want = await fill(journal, 3)
    uplink, _ = an_uplink(journal, modem, tmp_path, acknowledged_by="host")
    async with going(uplink):
        await until(lambda: sum(isinstance(m, Summary) for m in heard(modem)) >= 3)
        assert await journal.call(outbox.backlog) == 3
        tokens = [metrics.token(brief.arrives(m)) for m in want]
        modem.network.downlinks.append((11, link.pack([link.stored(tokens)])))
        await until(empty(journal))  # carried by what is sent once more after resend_s
    await journal.close()


async def test_a_command_comes_in_parts_and_is_answered(modem, tmp_path):
    journal = await opened(tmp_path / "j.db")
    now = int(time.time())
    command = Command(site=SITE, command_id=5, issued_s=now, expires_s=now + 600,
                      kind=names.COMMAND_MODE, mode=names.MODE_HOLD, detail="storm")  # fmt: skip
    parts = link.split(signing.seal(command, HQ_KEY), 51)
    assert len(parts) > 1
    for part in parts:
        modem.network.downlinks.append((11, link.pack([part])))
    modem.network.downlinks.append((11, b"\x12\xff"))  # no items
    modem.network.downlinks.append((3, b"for another"))
    await fill(journal, 8)
    uplink, restraint = an_uplink(journal, modem, tmp_path)
    async with going(uplink):
        await until(lambda: restraint.mode.value == "hold")
        await until(lambda: any(isinstance(m, Event) for m in heard(modem)))
    (answer,) = [m for m in heard(modem) if isinstance(m, Event)]
    assert (answer.command_id, answer.outcome) == (5, names.OUTCOME_DONE)
    await journal.close()


async def test_a_modem_that_starts_again_is_joined_again(modem, tmp_path):
    journal = await opened(tmp_path / "j.db")
    uplink, _ = an_uplink(journal, modem, tmp_path)
    async with going(uplink):
        await until(lambda: uplink.born)
        modem.reset()
        await fill(journal, 2)
        await until(empty(journal))
    assert modem.network.joins == 2
    await journal.close()


async def test_a_data_rate_that_is_too_low_is_said(modem, tmp_path, caplog):
    journal = await opened(tmp_path / "j.db")
    await fill(journal, 1)
    uplink, _ = an_uplink(journal, modem, tmp_path, lorawan={"adr": True})
    uplink._port._config = uplink._given.model_copy(update={"region": "US915"})
    async with going(uplink):
        await until(lambda: "allows less than a summary" in caplog.text)
    assert await journal.call(outbox.backlog) == 1
    await journal.close()


async def test_a_modem_that_is_silent_or_gone_is_tried_again(modem, tmp_path, monkeypatch):
    journal = await opened(tmp_path / "j.db")
    uplink, _ = an_uplink(journal, modem, tmp_path)
    steps = tuple(s.model_copy(update={"wait_s": 0.2}) for s in uplink._modem.setup)
    uplink._port._modem = uplink._modem.model_copy(update={"setup": steps})
    modem.silent = True
    async with going(uplink):
        await until(lambda: "no answer to 'AT' within" in uplink.why)
        modem.silent = False
        await until(lambda: uplink.born)
        modem.unplug()
        await fill(journal, 1)
        await until(lambda: "cannot be opened" in uplink.why or "gone" in uplink.why)
    assert await journal.call(outbox.backlog) == 1
    await journal.close()


async def test_no_key_is_in_a_line_of_the_log(modem, tmp_path, caplog):
    journal = await opened(tmp_path / "j.db")
    uplink, _ = an_uplink(journal, modem, tmp_path)
    refused = "AT_PARAM_ERROR" if isinstance(modem, Rak3172) else "+ERR=-3"
    normal = modem.command

    def command(text):
        modem.write(f"\r\n{refused}\r\n") if "APPKEY" in text else normal(text)

    modem.command = command
    async with going(uplink):
        await until(lambda: "refuses" in uplink.why)
    assert "AT+APPKEY={app_key}" in uplink.why
    said = "".join(str(vars(record)) for record in caplog.records)
    assert "AT+APPKEY={app_key}" in said
    assert APP_KEY.lower() not in (said + uplink.why).lower()
    await journal.close()


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_command_has_its_source(name):
    tables = tomllib.loads((folder() / f"{name}.toml").read_text())
    steps = [*tables["setup"], tables["join"], tables["send"]]
    assert all(step["source"].startswith("[1]") for step in steps)
    assert load_modem(name, "IN865").regions["IN865"] in (3, 7)


def test_what_is_wrong_with_a_modem_is_said(tmp_path):
    with pytest.raises(ConfigError, match="known: murata-abz, rak3172"):
        load_modem("sx1301", "EU868")
    with pytest.raises(ConfigError, match="knows no region 'EU86'"):
        load_modem("rak3172", "EU86")
    text = (folder() / "rak3172.toml").read_text()
    path = tmp_path / "m.toml"
    for old, new, words in (
        ("ok = 'OK'", "ok = '('", "no regular expression"),
        ("baud = 115200", "baud = 1", "line.baud"),
        ("[join]", "[jion]", "join"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(ConfigError, match=words):
            load_modem(str(path), "EU868")


def test_what_is_wrong_with_a_key_file_is_said(tmp_path):
    key = tmp_path / "k"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_app_key(key)
    key.write_text("1234")
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_app_key(key)
    key.chmod(0o600)
    with pytest.raises(ConfigError, match="32 hex digits"):
        read_app_key(key)
