"""What must be refused is refused, on both ends, with a line that says what to do."""

import asyncio
import datetime
import ssl

import pytest
from rigs.uplink import Broker, Pki, config, now, opened, queue, running

from pbal_controller.errors import ConfigError
from pbal_controller.uplink import outbox, tls


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path / "pki")


async def refusal(tmp_path, broker, settings):
    """What the uplink says of a connection that must not come about; nothing may be lost."""
    journal = await opened(tmp_path / "j.db")
    try:
        await queue(journal, 1)
        async with running(journal, settings) as uplink:
            for _ in range(800):
                if uplink.why != "not connected yet":
                    break
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            assert not uplink.born
            assert uplink.sent_total == 0
            assert await journal.call(outbox.backlog) == 1
            return uplink.why
    finally:
        await journal.close()
        broker.kill()


async def test_tls_1_2_is_refused(tmp_path, pki):
    broker = Broker(tmp_path, pki, tls="tlsv1.2", most="TLSv1.2")
    context = ssl.create_default_context(cafile=str(pki.ca))
    context.load_cert_chain(*pki.issue("probe"))
    _, writer = await asyncio.open_connection("localhost", broker.port, ssl=context)
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.2", "others would use it"
    writer.close()
    why = await refusal(tmp_path, broker, config(pki, broker.port, pki.issue("site")))
    assert "no TLS 1.3" in why


async def test_a_broker_of_another_authority_is_refused(tmp_path, pki):
    other = Pki(tmp_path / "other", "somebody else")
    broker = Broker(tmp_path, pki, server=other.issue("broker", hosts=("localhost",)))
    why = await refusal(tmp_path, broker, config(pki, broker.port, pki.issue("site")))
    assert "was not signed by uplink.ca" in why


async def test_a_broker_with_another_name_is_refused(tmp_path, pki):
    broker = Broker(tmp_path, pki, server=pki.issue("broker", hosts=("elsewhere.example",)))
    why = await refusal(tmp_path, broker, config(pki, broker.port, pki.issue("site")))
    assert "is not for localhost" in why


async def test_an_expired_broker_is_refused(tmp_path, pki):
    past = now() - datetime.timedelta(days=9)
    server = pki.issue("broker", hosts=("localhost",), start=past, days=3)
    broker = Broker(tmp_path, pki, server=server)
    why = await refusal(tmp_path, broker, config(pki, broker.port, pki.issue("site")))
    assert why == "the broker's certificate has expired"


async def test_a_revoked_broker_is_refused(tmp_path, pki):
    server = pki.issue("broker", hosts=("localhost",))
    broker = Broker(tmp_path, pki, server=server)
    settings = config(pki, broker.port, pki.issue("site"), crl=pki.crl("broker"))
    assert await refusal(tmp_path, broker, settings) == "the broker's certificate is revoked"


async def test_a_revoked_site_is_refused_by_the_broker(tmp_path, pki):
    client = pki.issue("site")
    broker = Broker(tmp_path, pki, crl=pki.crl("site"))
    why = await refusal(tmp_path, broker, config(pki, broker.port, client))
    assert "refused this site's certificate: it is revoked" in why


async def test_a_site_of_another_authority_is_refused_by_the_broker(tmp_path, pki):
    broker = Broker(tmp_path, pki)
    client = Pki(tmp_path / "other").issue("site")
    why = await refusal(tmp_path, broker, config(pki, broker.port, client))
    assert "refused this site's certificate" in why


async def test_an_expired_site_is_refused_by_the_broker(tmp_path, pki):
    broker = Broker(tmp_path, pki)
    client = pki.issue("site", start=now() - datetime.timedelta(days=9), days=3)
    why = await refusal(tmp_path, broker, config(pki, broker.port, client))
    assert "it has expired" in why


async def test_no_broker_at_all(tmp_path, pki):
    broker = Broker(tmp_path, pki)
    settings = config(pki, broker.port, pki.issue("site"))
    broker.kill()
    assert "does the broker run" in await refusal(tmp_path, broker, settings)


# -- before anything is connected ----------------------------------------------------------------


def test_a_good_set_of_files_is_described(pki):
    told = tls.check(config(pki, 8883, pki.issue("site", days=20)))
    assert told == ["uplink certificate: CN=site, 19 days left"] or "20 days" in told[0]


def test_a_certificate_that_ends_soon_and_an_open_key_are_noted(pki):
    client = pki.issue("site", days=3)
    client[1].chmod(0o644)
    told = "\n".join(tls.check(config(pki, 8883, client)))
    assert "renew the certificate soon" in told
    assert "others may read" in told


@pytest.mark.parametrize(
    ("spoil", "key", "words"),
    [
        ("missing", "certificate", "No such file"),
        ("other key", "key", "is not the key of"),
        ("expired", "certificate", "expired on"),
        ("early", "certificate", "clock"),
        ("no pem", "certificate", "holds no PEM certificate"),
        ("no key", "key", "holds no PEM key"),
        ("no ca", "ca", "cannot be used"),
    ],
)
def test_files_that_are_no_use_are_named(pki, tmp_path, spoil, key, words):
    certificate, private = pki.issue("site")
    settings = config(pki, 8883, (certificate, private))
    if spoil == "missing":
        certificate.unlink()
    elif spoil == "other key":
        private.write_bytes(pki.issue("other")[1].read_bytes())
    elif spoil == "expired":
        pki.issue("site", start=now() - datetime.timedelta(days=9), days=3)
    elif spoil == "early":
        pki.issue("site", start=now() + datetime.timedelta(days=3))
    elif spoil == "no pem":
        certificate.write_text("hello")
    elif spoil == "no key":
        private.write_text("hello")
    else:
        pki.ca.write_text("hello")
    with pytest.raises(ConfigError, match=words) as error:
        tls.check(settings)
    assert error.value.key == ("uplink", key)
    assert "Traceback" not in str(error.value)
