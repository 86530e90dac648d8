"""A real Mosquitto as `pbal-hq init` configures it, with real certificates."""

import asyncio
import contextlib
import datetime
import ssl
import time

import aiomqtt
import pytest

from pbal_hq.broker import lets_in
from pbal_hq.ca import HQ, Authority
from pbal_hq.database import connected
from pbal_hq.enrol import revoke, write_list
from pbal_hq.errors import BrokerError

SPACE = "spBv1.0"


def client(hq, name, *, files=None, **how):
    cert, key = files or (hq.pki.certificate(name), hq.pki.key(name))
    how.setdefault("tls_context", hq.context(cert, key))
    how.setdefault("identifier", name)
    return aiomqtt.Client(
        "localhost", hq.config.broker.port, protocol=aiomqtt.ProtocolVersion.V5, timeout=20, **how
    )


async def site(hq, number):
    await hq.add_site(number, node=f"mill-{number}")
    return await hq.certificate(number)


async def heard(listener, quiet=1.0):
    """What comes until it is quiet."""
    found = []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(quiet):
                message = await anext(listener.messages)
            found.append((str(message.topic), message.payload))
    return found


async def test_a_site_speaks_as_itself_only(hq):
    one = await site(hq, 1)
    async with client(hq, HQ) as host, client(hq, "mill-1", files=one) as mill:
        await host.subscribe("#", qos=1)
        for topic in (
            f"{SPACE}/kerala/NDATA/mill-2",
            f"{SPACE}/kerala/NBIRTH/mill-2",
            f"{SPACE}/kerala/NDEATH/mill-2",
            f"{SPACE}/kerala/NCMD/mill-1",
            f"{SPACE}/kerala/NCMD/mill-2",
            f"{SPACE}/kerala/NDATA/mill-1/more",
            f"{SPACE}/STATE/hq",
            f"{SPACE}/STATE/mill-1",
            "anything",
            "$CONTROL/dynamic-security/v1",
        ):
            await mill.publish(topic, b"forged", qos=1)
        await mill.publish(f"{SPACE}/kerala/NDATA/mill-1", b"own", qos=1)
        assert await heard(host) == [(f"{SPACE}/kerala/NDATA/mill-1", b"own")]


async def test_a_site_hears_what_is_meant_for_it_only(hq):
    one, two = await site(hq, 1), await site(hq, 2)
    async with (
        client(hq, HQ) as host,
        client(hq, "mill-1", files=one) as spy,
        client(hq, "mill-2", files=two) as other,
    ):
        for topic in ("#", f"{SPACE}/#", f"{SPACE}/+/NCMD/+", f"{SPACE}/+/NDATA/+", "$SYS/#",
                      f"{SPACE}/kerala/NCMD/mill-2"):  # fmt: skip
            with contextlib.suppress(aiomqtt.MqttError):
                await spy.subscribe(topic, qos=1)
        await host.publish(f"{SPACE}/kerala/NCMD/mill-2", b"for two", qos=1)
        await other.publish(f"{SPACE}/kerala/NDATA/mill-2", b"of two", qos=1)
        await host.publish(f"{SPACE}/kerala/NCMD/mill-1", b"for one", qos=1)
        await host.publish(f"{SPACE}/STATE/hq", b"online", qos=1)
        found = {topic for topic, _ in await heard(spy)}
        assert found == {f"{SPACE}/kerala/NCMD/mill-1", f"{SPACE}/STATE/hq"}


async def test_nobody_takes_over_anothers_session(hq):
    """A client id is worth nothing: the name in the certificate is the id."""
    one, two = await site(hq, 1), await site(hq, 2)
    async with client(hq, "mill-2", files=two) as victim:
        await victim.subscribe(f"{SPACE}/kerala/NCMD/mill-2", qos=1)
        async with client(hq, "mill-1", files=one, identifier="mill-2"):
            pass
        async with client(hq, HQ) as host:
            await host.publish(f"{SPACE}/kerala/NCMD/mill-2", b"still here", qos=1)
            assert [payload for _, payload in await heard(victim)] == [b"still here"]


def at_most_12(hq, files):
    made = hq.context(*files)
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    return made


async def test_who_is_not_let_in(hq):
    now = datetime.datetime.now(datetime.UTC)
    one = await site(hq, 1)
    stranger = Authority.create("another", now).client_with_key("mill-1", 1, now)
    files = hq.config.data / "x.crt", hq.config.data / "x.key"
    files[0].write_bytes(stranger.pem)
    files[1].write_bytes(stranger.key)
    server = hq.pki.certificate("pbal-broker"), hq.pki.key("pbal-broker")
    for context in (
        hq.context(),  # no certificate
        hq.context(*files),  # of another authority
        hq.context(*server),  # a server's
        at_most_12(hq, one),
    ):
        assert not await lets_in(hq.config.broker, context)
    assert await lets_in(hq.config.broker, hq.context(*one))
    async with client(hq, "mill-1", files=one):
        pass


async def speak_while_revoked(hq, db, files):
    """Raises MqttError when the broker has ended the session."""
    async with client(hq, "mill-1", files=files) as mill:
        outcome = await revoke(db, hq.config, 1, "stolen")
        assert (outcome.certificates, outcome.trouble) == (1, "")
        async with asyncio.timeout(60):
            while True:
                await mill.publish(f"{SPACE}/kerala/NDATA/mill-1", b"late", qos=1)
                await asyncio.sleep(0.1)


async def test_a_revoked_site_is_out_at_once(hq):
    one, two = await site(hq, 1), await site(hq, 2)
    async with client(hq, HQ) as host, client(hq, "mill-2", files=two) as other:
        await host.subscribe(f"{SPACE}/#", qos=1)
        async with connected(hq.config.database) as db:
            with pytest.raises(aiomqtt.MqttError):
                await speak_while_revoked(hq, db, one)
        assert not await lets_in(hq.config.broker, hq.context(*one))
        # The others go on, in the session they had.
        await other.publish(f"{SPACE}/kerala/NDATA/mill-2", b"I stay", qos=1)
        assert (f"{SPACE}/kerala/NDATA/mill-2", b"I stay") in await heard(host)
    hq.broker.stop()
    hq.broker.start()
    assert not await lets_in(hq.config.broker, hq.context(*one))


async def test_a_list_that_is_renewed_meanwhile_forgets_no_revocation(hq):
    """HQ renews the list every hour; who read what is revoked earlier must not write later."""
    one = await site(hq, 1)
    async with connected(hq.config.database) as db:
        renewing = asyncio.create_task(asyncio.to_thread(renew_slowly, hq))
        await asyncio.sleep(0.5)
        outcome = await revoke(db, hq.config, 1, "stolen")
        await renewing
    assert outcome.trouble == ""
    assert not await lets_in(hq.config.broker, hq.context(*one))
    hq.broker.stop()
    hq.broker.start()
    assert not await lets_in(hq.config.broker, hq.context(*one))


def renew_slowly(hq):
    """`write_list`, held up between reading what is revoked and writing it; in a thread."""

    class Slow(type(hq.pki)):
        def write_crl(self, *what):
            time.sleep(1)
            super().write_crl(*what)

    asyncio.run(_renew(hq, Slow(hq.pki.folder)))


async def _renew(hq, pki):
    async with connected(hq.config.database) as db:
        await write_list(db, pki)


async def test_a_revocation_without_a_broker_says_so_and_holds_later(hq):
    one = await site(hq, 1)
    hq.broker.stop()
    async with connected(hq.config.database) as db:
        outcome = await revoke(db, hq.config, 1, "stolen")
    assert "does it run" in outcome.trouble
    hq.broker.start()
    assert not await lets_in(hq.config.broker, hq.context(*one))


async def test_a_pid_file_of_another_program_is_not_signalled(hq, tmp_path):
    import os

    from pbal_hq.broker import reload

    wrong = tmp_path / "pid"
    wrong.write_text(str(os.getpid()))
    with pytest.raises(BrokerError, match="no broker"):
        await reload(hq.config.broker, wrong)
