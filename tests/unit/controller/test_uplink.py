"""The whole controller with an uplink: what HQ may do to it, and what HQ's absence may not."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rigs.uplink import GROUP, PLACE, Broker, Hq, Pki

from pbal_controller.uplink import outbox
from pbal_uplink import Command, Event, State, Summary, metrics, names, signing, sparkplug

from .conftest import Site, rows, until
from .fake import SITE, FakeNode

MakeSite = Callable[..., Site]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path / "pki")


@pytest.fixture
def broker(tmp_path, pki):
    (tmp_path / "broker").mkdir()
    made = Broker(tmp_path / "broker", pki)
    yield made
    made.kill()


def with_uplink(site: Site, pki: Pki, port: int, allow: tuple[str, ...] = ("mode",)) -> Site:
    certificate, key = pki.issue("site")
    site.changes["uplink"] = {
        "kind": "sparkplug", "host": "localhost", "port": port, "group": GROUP, "node": "7",
        "ca": str(pki.ca), "certificate": str(certificate), "key": str(key), "window_s": 10,
        "spread_s": 0, "retry_s": 1,
        "hq_keys": [KEY.public_key().public_bytes_raw().hex()], "allow": list(allow),
    }  # fmt: skip
    return site


async def order(host, number: int, mode: int, key=KEY) -> None:
    command = Command(
        site=SITE, command_id=number, issued_s=int(time.time()), expires_s=int(time.time()) + 60,
        kind=names.COMMAND_MODE, mode=mode,
    )  # fmt: skip
    sealed = signing.seal(command, key)
    await host.command(sparkplug.Metric(sparkplug.COMMAND, sealed, sparkplug.BYTES), PLACE)


def answers(host) -> list[tuple[int, str]]:
    return [(m.command_id, names.OUTCOMES[m.outcome]) for m, _ in host.got
            if isinstance(m, Event) and m.kind == names.KIND_ANSWER]  # fmt: skip


async def test_hq_hears_of_a_move_and_of_the_site(make_site: MakeSite, pki, broker) -> None:
    site = with_uplink(make_site(FakeNode(1), FakeNode(2, phase=2)), pki, broker.port)
    async with Hq(pki, broker.port) as host, site.running() as c:
        await until(lambda: site.nodes[1].synced and c.fleet.get(1).readings > 2)
        await host.until(lambda: host.births)
        (state,) = [m for m in _of_births(host) if isinstance(m, State)]
        assert (state.site, state.homes, state.mode) == (SITE, 2, names.MODE_HOLD)
        command = await c.dispatcher.order(c.fleet.get(1), 3, "a test", 1.0)
        await host.until(lambda: _events(host))
        ((event, late),) = _events(host)
        assert (event.kind, event.outcome) == (names.KIND_SWITCHING, names.OUTCOME_CONFIRMED)
        assert (event.command_id, event.address, event.to_phase) == (command, 1, 3)
        assert not late
        await host.until(lambda: any(isinstance(m, Summary) and m.confirmed for m, _ in host.got))
        await until(lambda: c.uplink.acknowledged_total >= 2)


def _events(host):
    """What came of events, but for the audit log's own."""
    return [
        (m, late) for m, late in host.got if isinstance(m, Event) and m.kind != names.KIND_AUDIT
    ]


def _of_births(host):
    return [m for birth in host.births for m, _ in metrics.messages(birth.metrics)]


async def test_hold_and_dry_run_stop_the_planner_and_run_starts_it(
    make_site: MakeSite, pki, broker
) -> None:
    """Three homes on one phase: without HQ's word the planner moves some at once."""
    site = with_uplink(make_site(*(FakeNode(k, phase=1) for k in (1, 2, 3))), pki, broker.port)
    site.changes["planner"] = {"enabled": True}
    site.changes["uplink"]["window_s"] = 3600
    async with Hq(pki, broker.port) as host:
        site.changes["planner"]["settle_s"] = 8.0
        async with site.running() as c:
            await host.until(lambda: host.births)
            await order(host, 1, names.MODE_HOLD)
            await host.until(lambda: answers(host) == [(1, "done")])
            await until(lambda: c.planner.last_decision.get("skipped") == "held by HQ")
            await order(host, 2, names.MODE_DRY_RUN, Ed25519PrivateKey.generate())
            await order(host, 3, names.MODE_DRY_RUN)
            await until(lambda: c.planner.last_decision.get("would_move"))
            told = c.planner.last_decision
            assert told["moves"] == 0
            assert "dry run" in told["skipped"]
            assert told["would_move"][0]["from"] == "A"
            assert c.dispatcher.ordered_total == 0
        # It lasts over a restart.
        site.changes["planner"]["settle_s"] = 1.0
        async with site.running() as c:
            await until(lambda: c.planner.last_decision.get("would_move"))
            await host.until(lambda: len(host.births) >= 2)
            assert rows(site, "SELECT COUNT(*) FROM commands") == [(0,)]
            await order(host, 4, names.MODE_RUN)
            await until(lambda: c.dispatcher.finished_total["confirmed"] >= 1)
        assert [number for number, _ in answers(host)] == [1, 3, 4], "2 was not HQ's"


async def test_without_a_broker_everything_else_goes_on(make_site: MakeSite, pki, broker) -> None:
    site = with_uplink(make_site(FakeNode(1), FakeNode(2, phase=2)), pki, broker.port)
    broker.kill()
    async with site.running() as c:
        await until(lambda: "does the broker run" in c.uplink.why)
        await until(lambda: site.nodes[1].synced and c.fleet.get(1).readings > 2)
        await c.dispatcher.order(c.fleet.get(1), 3, "a test", 1.0)
        await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
        await until(lambda: rows(site, "SELECT COUNT(*) FROM outbox") >= [(1,)])
        assert c.supervisor.late(c.now()) == []
        assert c.supervisor.loops["uplink"].restarts == 0


async def test_certificates_that_are_no_use_stop_nothing_else(
    make_site: MakeSite, pki, broker
) -> None:
    site = with_uplink(make_site(FakeNode(1)), pki, broker.port)
    config = site.config()
    config.uplink.key.write_text("no key")
    async with site.running() as c:
        await until(lambda: "cannot be used" in c.uplink.why)
        await until(lambda: c.fleet.get(1).readings > 2)
        assert c.supervisor.late(c.now()) == []


async def test_without_an_uplink_no_fact_is_noted(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: site.nodes[1].synced and c.fleet.get(1).readings > 2)
        await c.dispatcher.order(c.fleet.get(1), 3, "a test", 1.0)
        await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
        assert "uplink" not in c.supervisor.loops
        assert await c.journal.call(outbox.take_facts, SITE) == 0


async def test_an_overload_is_an_alarm_at_hq(make_site: MakeSite, pki, broker) -> None:
    site = with_uplink(make_site(FakeNode(1, p_w=4000.0)), pki, broker.port)
    site.changes["planner"] = {"phase_limit_a": 10.0}
    site.changes["uplink"]["window_s"] = 3600
    async with Hq(pki, broker.port) as host, site.running() as c:
        await host.until(lambda: any(isinstance(m, Event) for m, _ in host.got))
        ((event, _),) = host.got
        assert (event.kind, event.severity) == (names.KIND_OVERLOAD, names.ALARM)
        assert "limit 10 A" in event.detail
        await until(lambda: c.uplink.as_dict()["acknowledged"] == 1)
