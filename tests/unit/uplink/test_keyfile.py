"""The uplink's key at rest: sealed with the key store, and taken over from before."""

import datetime
import subprocess

import pytest
from cryptography import x509
from rigs import needs
from rigs.uplink import Broker, Pki, config, opened, running
from rigs.waiting import until

from pbal_controller.errors import ConfigError
from pbal_controller.keys import KeyStore
from pbal_controller.uplink import KeyFile, Renewal, certificate, tls

SECRET = b"5a" * 32


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path / "pki")


def der(key):
    return certificate._spki(key.public_key())  # of a key, or of a signing request


def test_a_sealed_key_is_not_on_the_disk(tmp_path):
    key = KeyFile(tmp_path / "site.key", SECRET)
    drawn = key.draw(sealed=True)
    assert key.is_sealed
    assert der(key.read()) == der(drawn)
    body = key.path.read_bytes()
    assert b"-----BEGIN PRIVATE KEY-----" not in body
    assert key.path.stat().st_mode & 0o777 == 0o600
    assert SECRET.decode() not in repr(key)
    with pytest.raises(ConfigError, match="not open here"):
        KeyFile(key.path).read()
    with pytest.raises(ConfigError, match="another key store"):
        KeyFile(key.path, b"5b" * 32).read()


def test_openssl_reads_it_and_says_how_it_is_sealed(tmp_path):
    """An implementation that is not ours: PBES2 with AES-256, and the right key in it."""
    key = KeyFile(tmp_path / "site.key", SECRET)
    drawn = key.draw(sealed=True)
    openssl = needs.require_tool("openssl")
    parsed = subprocess.run(
        [openssl, "asn1parse", "-in", key.path], capture_output=True, text=True, check=True
    ).stdout
    assert "PBES2" in parsed
    assert "aes-256-cbc" in parsed
    public = subprocess.run(
        [openssl, "pkey", "-in", key.path, "-passin", f"pass:{SECRET.decode()}", "-pubout",
         "-outform", "DER"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert public == der(drawn)


def test_damage_is_said(tmp_path):
    key = KeyFile(tmp_path / "site.key", SECRET)
    key.draw(sealed=True)
    lines = key.path.read_text().splitlines()
    lines[3] = lines[3][::-1]
    key.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match="or is damaged; enrol again"):
        key.read()


def test_the_secret_is_the_stores(tmp_path):
    one = KeyStore.create(tmp_path / "a.json", b"secret", 7, log2_n=12)
    other = KeyStore.create(tmp_path / "b.json", b"secret", 7, log2_n=12)
    assert one.tls_secret() == KeyStore.open(tmp_path / "a.json", b"secret").tls_secret()
    assert one.tls_secret() != other.tls_secret()
    assert len(one.tls_secret()) == 64
    assert bytes.fromhex(one.tls_secret().decode()) not in (one.vault_key(), b"")


def test_the_next_key_is_sealed_as_the_present_one_is(tmp_path):
    key = KeyFile(tmp_path / "site.key", SECRET)
    certificate.request(key, "site")
    assert key.waiting.is_sealed, "the first one"
    for sealed in (False, True):
        key.waiting.path.unlink()
        key.draw(sealed)
        first = certificate.request(key, "site")
        assert key.waiting.is_sealed is sealed
        waits = key.waiting.path.read_bytes()
        again = certificate.request(key, "site")
        one, other = (x509.load_pem_x509_csr(each.encode()) for each in (first, again))
        assert der(one) == der(other)
        assert key.waiting.path.read_bytes() == waits, "the same one while it waits"


def test_who_cannot_open_the_waiting_key_leaves_it(tmp_path, pki):
    """check-config as somebody without the passphrase, between certificate and key."""
    pem, plain = pki.issue("site")
    waits = KeyFile(plain, SECRET).waiting
    waits.path.write_bytes(plain.read_bytes())
    waits.seal()
    certificate.settle(pem, KeyFile(plain))
    assert waits.path.exists()
    certificate.settle(pem, KeyFile(plain, SECRET))
    assert not waits.path.exists()
    assert KeyFile(plain, SECRET).is_sealed


async def test_a_sealed_key_opens_the_link(tmp_path, pki):
    """To a real broker that asks for the certificate; and not without the store."""
    pem, key = pki.issue("site")
    assert KeyFile(key, SECRET).seal()
    broker = Broker(tmp_path, pki)
    settings = config(pki, broker.port, (pem, key))
    journal = await opened(tmp_path / "j.db")
    try:
        async with running(journal, settings, secret=SECRET) as uplink:
            await until(lambda: uplink.born)
        async with running(journal, settings) as uplink:
            await until(lambda: uplink.why != "not connected yet")
            assert "not open here" in uplink.why
    finally:
        await journal.close()
        broker.kill()


async def test_a_key_from_before_is_taken_over_after_an_hour(tmp_path, pki, caplog):
    """Said once; before that an older version may come back, which could not read it."""
    caplog.set_level("INFO")
    pem, path = pki.issue("site")
    settings = config(pki, 8883, (pem, path))
    key = KeyFile(path, SECRET)
    before = der(key.read())
    slept = 0.0
    seen: list[tuple[float, bool]] = []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds
        seen.append((slept, key.is_sealed))
        if slept > 3 * 3600:
            raise Enough

    journal = await opened(tmp_path / "j.db")
    try:
        loop = Renewal(
            settings, 7, journal, lambda: datetime.datetime.now(datetime.UTC).timestamp(), sleep,
            secret=SECRET,
        )  # fmt: skip
        with pytest.raises(Enough):
            await loop.run(lambda: None)
        noted = await journal.call(
            lambda j: j.db.execute("SELECT why FROM audit_log WHERE subject = 'key'").fetchall()
        )
    finally:
        await journal.close()
    assert [at for at, sealed in seen if not sealed][-1] == 3600
    assert der(key.read()) == before
    assert sum("is sealed now" in record.message for record in caplog.records) == 1
    assert len(noted) == 1
    tls.check(settings, secret=SECRET)


def test_a_person_is_told(tmp_path, pki):
    pem, path = pki.issue("site")
    settings = config(pki, 8883, (pem, path))
    KeyFile(path, SECRET).seal()
    assert any("not looked into" in line for line in tls.check(settings))
    assert not any("not looked" in line for line in tls.check(settings, secret=SECRET))
    with pytest.raises(ConfigError, match=r"uplink\.key: .*another key store"):
        tls.check(settings, secret=b"00" * 32)
