"""A site's own commands against HQ's own endpoint, over real TLS: certificates, first and next."""

import asyncio
import datetime
import socket
import time

import pytest
from rigs.hq import Headquarters, endpoint

from pbal_controller import onsite
from pbal_controller.config import load
from pbal_controller.errors import BearerError, ConfigError
from pbal_controller.journal import AsyncJournal
from pbal_controller.keys import KeyStore
from pbal_controller.uplink import KeyFile, Renewal, certificate, tls
from pbal_hq.ca import name_of
from pbal_hq.database import connected
from pbal_hq.enrol import revoke


@pytest.fixture
def hq(tmp_path, database_url):
    """An HQ without a broker; names of certificates are for localhost."""
    (tmp_path / "hq").mkdir()
    return Headquarters(tmp_path / "hq", database_url, broker={"host": "localhost"})


@pytest.fixture
def site(tmp_path):
    """A site's configuration without an uplink; returns its main file."""
    (tmp_path / "etc" / "conf.d").mkdir(parents=True)
    main = tmp_path / "etc" / "pbal.toml"
    main.write_text(
        f"[site]\nid = 1007\n[keys]\nfile = '{tmp_path}/lib/keys.json'\n"
        f"[bus.a]\nport = '/nowhere'\n[journal]\npath = '{tmp_path}/lib/journal.db'\n"
        "[[home]]\naddress = 257\nbus = 'a'\n"
    )
    (tmp_path / "lib").mkdir()
    return main


async def enrol(url, token, main):
    await asyncio.to_thread(onsite.enrol, url, token, main)


async def renewal(main, wall, secret=b""):
    settings = load(main)
    journal = AsyncJournal(settings.journal.path)
    await journal.open()
    return Renewal(settings.uplink, settings.site.id, journal, wall, secret=secret), journal


async def test_from_a_token_to_the_next_certificate(hq, site, capsys):
    token = await hq.add_site(1007, group="kerala", node="mill-7")
    async with endpoint(hq) as url:
        await enrol(url, token, site)
        c = load(site).uplink
        assert (c.kind, c.host, c.group, c.node, c.primary_host) == (
            "sparkplug", "localhost", "kerala", "mill-7", "hq",
        )  # fmt: skip
        assert c.renew_url == url
        assert c.key.stat().st_mode & 0o777 == 0o600
        assert any("days left" in line for line in tls.check(c))
        first, first_key = certificate.read(c.certificate), c.key.read_bytes()
        assert name_of(first) == "mill-7"
        assert "renewed by itself" in capsys.readouterr().out

        loop, journal = await renewal(site, time.time)
        try:
            assert await loop.look() == ""
            assert loop.renewed_total == 0, "a fresh one is left alone"
            # A third of its life before its end; HQ's clock and the certificate's own are real.
            life = first.not_valid_after_utc - first.not_valid_before_utc
            late = first.not_valid_after_utc - life / 3 + datetime.timedelta(minutes=1)
            loop._wall = lambda: late.timestamp()
            assert await loop.look() == ""
            assert loop.renewed_total == 1
            second = certificate.read(c.certificate)
            assert second.serial_number != first.serial_number
            assert c.key.read_bytes() != first_key, "a new key each time"
            tls.check(c)
            noted = await journal.call(
                lambda j: j.db.execute(
                    "SELECT subject FROM audit_log WHERE what = 'certificate'"
                ).fetchall()
            )
            assert noted == [(f"{second.serial_number:x}",)]

            async with connected(hq.config.database) as db:
                await revoke(db, hq.config, 1007, "stolen")
            loop._wall = lambda: late.timestamp()
            assert "revoked" in await loop.look()
            assert certificate.read(c.certificate) == second
        finally:
            await journal.close()


async def test_with_the_key_store_the_key_is_sealed_from_the_start(hq, site, tmp_path):
    """And each later one; HQ's endpoint takes the sealed one's handshake."""
    store = KeyStore.create(tmp_path / "lib" / "keys.json", b"secret", 1007, log2_n=12)
    (tmp_path / "keys.pass").touch(0o600)
    (tmp_path / "keys.pass").write_bytes(b"secret\n")
    secret = store.tls_secret()
    token = await hq.add_site(1007)
    async with endpoint(hq) as url:
        await asyncio.to_thread(onsite.enrol, url, token, site, tmp_path / "keys.pass")
        c = load(site).uplink
        assert KeyFile(c.key).is_sealed
        first, first_key = certificate.read(c.certificate), c.key.read_bytes()
        loop, journal = await renewal(site, time.time, secret)
        try:
            late = first.not_valid_after_utc - datetime.timedelta(days=1)
            loop._wall = late.timestamp
            assert await loop.look() == ""
            assert certificate.read(c.certificate) != first
            assert c.key.read_bytes() != first_key
            assert KeyFile(c.key).is_sealed
            tls.check(c, secret=secret)
        finally:
            await journal.close()


async def test_what_hq_does_not_give(hq, site, monkeypatch):
    token = await hq.add_site(8)
    async with endpoint(hq) as url:
        head, secret, mark = token.split(".")
        with pytest.raises(BearerError, match="not the one that the token names"):
            await enrol(url, f"{head}.{secret}.{'a' * len(mark)}", site)
        with pytest.raises(ConfigError, match="is no token"):
            await enrol(url, "guess", site)
        with pytest.raises(ConfigError, match="is an address such as"):
            await enrol(url.replace("https", "http"), token, site)
        with pytest.raises(BearerError, match="not known, has expired"):
            await enrol(url, f"{head}.{'x' * len(secret)}.{mark}", site)
        with pytest.raises(ConfigError, match="for site 8, this is site 1007"):
            await enrol(url, token, site)
        # The certificate is for localhost, and nobody else is HQ.
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda _, *more, **k: real("127.0.0.1", *more, **k)
        )
        with pytest.raises(BearerError, match="not HQ, or not under this name"):
            await enrol(url.replace("localhost", "elsewhere"), token, site)
    with pytest.raises(BearerError, match="no answer"):
        await enrol(url, token, site)
    assert load(site).uplink.kind == "null", "nothing was configured"
    assert not (site.parent.parent / "lib" / "uplink" / "site.pem").exists()


async def test_the_power_goes_between_certificate_and_key(hq, site, monkeypatch):
    token = await hq.add_site(1007)
    async with endpoint(hq) as url:
        await enrol(url, token, site)
        c = load(site).uplink
        loop, journal = await renewal(site, time.time)
        try:
            first = certificate.read(c.certificate)
            loop._wall = lambda: (
                first.not_valid_after_utc - datetime.timedelta(days=1)
            ).timestamp()
            with monkeypatch.context() as patch:
                patch.setattr(certificate, "settle", lambda *_: None)
                assert await loop.look() == ""
            made = certificate.read(c.certificate)
            assert made.serial_number != first.serial_number
            assert c.key.with_name("site.key.new").exists()
            # The next who opens them brings them together.
            tls.context(c)
            assert not c.key.with_name("site.key.new").exists()
            tls.check(c)
        finally:
            await journal.close()
