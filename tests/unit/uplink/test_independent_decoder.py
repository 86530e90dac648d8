"""What the site sends is read by Eclipse Tahu's own JavaScript library (npm: sparkplug-payload)."""

import asyncio
import json
import subprocess
import time

import pytest
from rigs.needs import require_tool
from rigs.npm import fetched
from rigs.uplink import Broker, Hq, Pki, config, opened, queue, running

from pbal_controller.uplink import outbox
from pbal_uplink import Event, State, Summary, metrics, names
from pbal_uplink.sparkplug import INT64, STORED, UINT64_ARRAY, Metric, Payload, encode


@pytest.fixture(scope="module")
def decode():
    """A function: payloads to what the library makes of them. npm fetches it once, by its lock."""
    node, place = require_tool("node", "nodejs"), fetched("sparkplug")

    def run(payloads):
        done = subprocess.run(
            [node, place / "decode.js", place], input="\n".join(p.hex() for p in payloads),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        # Not splitlines(): JSON may hold characters that it takes for the end of a line.
        return [json.loads(line) for line in done.stdout.rstrip("\n").split("\n")]

    return run


def by_name(payload):
    return {metric["name"]: metric["value"] for metric in payload["metrics"]}


async def heard(tmp_path, form):
    """The raw payloads of a birth, a summary of before, an event and a death."""
    pki = Pki(tmp_path / "pki")
    broker = Broker(tmp_path, pki)
    journal = await opened(tmp_path / "j.db")
    try:
        async with Hq(pki, broker.port) as host:
            (summary,) = await queue(journal, 3)
            async with running(journal, config(pki, broker.port, pki.issue("s"), form=form)) as up:
                await host.until(lambda: len(host.store) == 1)
                event = Event(site=7, event_id=2**63 + 5, at_s=int(time.time()), kind=3, severity=2,
                              address=257, arg0=-7, detail="geschweißt")  # fmt: skip
                await journal.call(outbox.put, event, 1000)
                up.wake()
                await host.until(lambda: len(host.store) == 2)
            await host.until(lambda: host.deaths)
            await asyncio.sleep(0)
            return [payload for _, payload in host.raw], summary, event
    finally:
        await journal.close()
        broker.kill()


async def test_the_packed_form(tmp_path, decode):
    payloads, summary, event = await heard(tmp_path, "packed")
    birth, first, second, death = decode(payloads)
    assert [p.get("seq") for p in (birth, first, second)] == ["0", "1", "2"]
    assert by_name(birth)["bdSeq"] == by_name(death)["bdSeq"] == "0"
    assert by_name(birth)["Node Control/Rebirth"] is False
    state = State.decode(bytes.fromhex(by_name(birth)["State"]))
    assert state.name == "Mill"
    announced = {m["alias"]: (m["name"], m["type"]) for m in birth["metrics"] if "alias" in m}
    assert announced == {
        "1": ("Summary", "Bytes"), "2": ("Event", "Bytes"), "3": ("State", "Bytes"),
    }  # fmt: skip
    (metric,) = first["metrics"]
    assert metric["alias"] == "1"
    assert metric["isHistorical"] is True
    assert metric["timestamp"] == str((summary.start_s + 300) * 1000)
    assert Summary.decode(bytes.fromhex(metric["value"])) == summary
    (metric,) = second["metrics"]
    assert "isHistorical" not in metric
    assert Event.decode(bytes.fromhex(metric["value"])) == event


async def test_the_plain_form(tmp_path, decode):
    payloads, summary, event = await heard(tmp_path, "plain")
    birth, first, second, _ = decode(payloads)
    told = {m["name"]: m for m in birth["metrics"]}
    assert told["State/name"]["value"] == "Mill"
    assert told["Summary/ia_mean_a"]["type"] == "Float"
    assert told["Summary/ia_mean_a"]["properties"]["engUnit"] == {"value": "A", "type": "String"}
    names_of = {m["alias"]: m["name"] for m in birth["metrics"] if "alias" in m}
    for payload, message in ((first, summary), (second, event)):
        got = {names_of[m["alias"]].split("/")[1]: m["value"] for m in payload["metrics"]}
        assert set(got) == {field.name for field in message.DECLARED}
        for field in message.DECLARED:
            value, wanted = got[field.name], getattr(message, field.name)
            if wanted is None or isinstance(wanted, str):
                assert value == wanted, field.name
            else:
                assert float(value) == pytest.approx(float(wanted), rel=1e-6), field.name
    assert int({names_of[m["alias"]]: m["value"] for m in second["metrics"]}["Event/event_id"]) == (
        2**63 + 5
    )


def test_any_summary_in_both_forms(decode):
    full = Summary(
        site=7, start_s=1_800_000_000, length_s=300, losses_avoided_wh=-1234, hotspot_c=-12.5,
        va_min_v=229.12, in_max_a=6000.0, losses_method=names.LOSSES_FIRST_PHASES,
    )  # fmt: skip
    birth = Payload(metrics.announced(Summary, 1, in_plain=True), 1, 0)
    data = Payload(tuple(m.under_alias() for m in metrics.plain(full, 5)), 5, 1)
    told, got = decode([encode(birth), encode(data, types=False)])
    names_of = {m["alias"]: m["name"].split("/")[1] for m in told["metrics"]}
    values = {names_of[m["alias"]]: m["value"] for m in got["metrics"]}
    assert values["losses_avoided_wh"] == -1234
    assert values["hotspot_c"] == -12.5
    assert values["vb_min_v"] is None
    assert values["va_min_v"] == pytest.approx(229.12, abs=1e-4)


def test_the_decoder_can_fail(decode):
    whole = encode(Payload((Metric("bdSeq", 3, INT64), Metric(STORED, (1,), UINT64_ARRAY)), 1))
    assert by_name(decode([whole])[0])["bdSeq"] == "3"
    with pytest.raises(AssertionError):
        decode([whole[:-1]])
