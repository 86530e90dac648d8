"""Enrolment over real TLS: a token once, a CSR whose key stays, renewing, refusals."""

import base64
import datetime
import ssl
import time

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from rigs.hq import Headquarters, endpoint, execute

from pbal_hq.broker import lets_in
from pbal_hq.ca import Authority, fingerprint, name_of
from pbal_hq.database import connected
from pbal_hq.enrol import Ration, revoke


@pytest.fixture
def hq(tmp_path, database_url):
    """An HQ without a broker."""
    return Headquarters(tmp_path, database_url, broker={"host": "localhost"})


def request(key=None, name="whatever"):
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return key, made.public_bytes(Encoding.PEM).decode()


async def post(url, body, context):
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, ssl=context) as answer,
    ):
        return answer.status, await answer.json()


def held(hq, tmp_path, key, pem):
    """The context of a site that has this key and certificate."""
    path = tmp_path / f"{time.monotonic_ns()}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + pem.encode())
    return hq.context(path)


async def test_a_site_knows_the_authority_by_its_token_and_enrols(hq, tmp_path):
    token = await hq.add_site(1007, group="kerala", node="mill-7")
    key, csr = request(name="pbal-hq")  # the name that it asks for is not what it gets
    async with endpoint(hq) as url:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/ca", ssl=False) as answer,
        ):
            ca = await answer.text()
        assert fingerprint(x509.load_pem_x509_certificate(ca.encode())) == token.split(".")[2]
        trusted = ssl.create_default_context(cadata=ca)
        status, given = await post(f"{url}/enrol", {"token": token, "csr": csr}, trusted)
        assert status == 200, given
        assert (given["site"], given["group"], given["node"]) == (1007, "kerala", "mill-7")
        assert given["broker"] == {
            "host": "localhost", "port": hq.config.broker.port, "host_id": "hq",
        }  # fmt: skip
        made = x509.load_pem_x509_certificate(given["certificate"].encode())
        assert name_of(made) == "mill-7"
        assert made.public_key() == key.public_key()
        hq.broker.start()
        try:
            assert await lets_in(hq.config.broker, held(hq, tmp_path, key, given["certificate"]))
        finally:
            hq.broker.kill()
        # The answer may be lost: the same key may ask again, another may not.
        assert (await post(f"{url}/enrol", {"token": token, "csr": csr}, trusted))[0] == 200
        status, said = await post(f"{url}/enrol", {"token": token, "csr": request()[1]}, trusted)
        assert status == 403
        assert "used with another key" in said["error"]


async def test_a_certificate_is_renewed_with_the_present_one(hq, tmp_path):
    token = await hq.add_site(7)
    key, csr = request()
    async with endpoint(hq) as url:
        _, first = await post(f"{url}/enrol", {"token": token, "csr": csr}, hq.context())
        next_key, csr = request(name="8")
        body = {"csr": csr}
        assert (await post(f"{url}/renew", body, hq.context()))[0] == 401
        present = held(hq, tmp_path, key, first["certificate"])
        status, second = await post(f"{url}/renew", body, present)
        assert status == 200
        made = x509.load_pem_x509_certificate(second["certificate"].encode())
        assert name_of(made) == "7"
        assert made.public_key() == next_key.public_key()
        async with connected(hq.config.database) as db:
            await revoke(db, hq.config, 7, "stolen")
        for context in (present, held(hq, tmp_path, next_key, second["certificate"])):
            status, said = await post(f"{url}/renew", {"csr": request()[1]}, context)
            assert status == 403
            assert "revoked" in said["error"]


async def test_a_certificate_that_hq_did_not_note_renews_nothing(hq, tmp_path):
    await hq.add_site(7)
    now = datetime.datetime.now(datetime.UTC)
    issued = hq.pki.authority().client_with_key("7", 1, now)
    path = tmp_path / "x.pem"
    path.write_bytes(issued.key + issued.pem)
    async with endpoint(hq) as url:
        status, _ = await post(f"{url}/renew", {"csr": request()[1]}, hq.context(path))
        assert status == 403


async def test_bad_requests_are_told_what_is_wrong(hq):
    token = await hq.add_site(7)
    _, good = request()
    weak = request(rsa.generate_private_key(65537, 1024))[1]
    other = request(ec.generate_private_key(ec.SECP192R1()))[1]
    der = bytearray(x509.load_pem_x509_csr(good.encode()).public_bytes(Encoding.DER))
    der[der.index(b"whatever")] ^= 1
    forged = "-----BEGIN CERTIFICATE REQUEST-----\n"
    forged += base64.encodebytes(bytes(der)).decode() + "-----END CERTIFICATE REQUEST-----\n"
    async with endpoint(hq) as url:
        for body, status, why in (
            ({"token": token, "csr": weak}, 400, "too weak"),
            ({"token": token, "csr": other}, 400, "too weak"),
            ({"token": token, "csr": "hello"}, 400, "no certificate signing request"),
            ({"token": token, "csr": forged}, 400, "not signed with its own key"),
            ({"token": token, "csr": "x" * 20_000}, 400, "more than"),
            ({"token": token}, 400, "csr"),
            ({"token": 1, "csr": good}, 400, "each a text"),
            ([], 400, "token and csr"),
            ({"token": "pbal1.x.y", "csr": good}, 403, "not known"),
            ({"token": "", "csr": good}, 403, "not known"),
            ({"token": token, "csr": "x" * 40_000}, 413, "more than"),
        ):
            found, said = await post(f"{url}/enrol", body, hq.context())
            assert found == status, said
            assert why in said["error"]
        # None of these has spent it.
        assert (await post(f"{url}/enrol", {"token": token, "csr": good}, hq.context()))[0] == 200


async def test_a_token_that_is_late_or_replaced_is_worth_nothing(hq):
    old = await hq.add_site(7)
    execute(hq.url, "UPDATE enrol_token SET expires_at = now() - interval '1 second'")
    async with endpoint(hq) as url:
        body = {"token": old, "csr": request()[1]}
        assert (await post(f"{url}/enrol", body, hq.context()))[0] == 403


async def test_no_certificate_of_another_authority_is_taken(hq, tmp_path):
    now = datetime.datetime.now(datetime.UTC)
    stranger = Authority.create("x", now).client_with_key("7", 1, now)
    path = tmp_path / "x.pem"
    path.write_bytes(stranger.key + stranger.pem)
    await hq.add_site(7)
    async with endpoint(hq) as url:
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await post(f"{url}/renew", {"csr": request()[1]}, hq.context(path))


def test_a_ration_is_used_up_and_grows_again():
    now = 0.0
    ration = Ration(2, lambda: now)
    assert [ration.take("a") for _ in range(3)] == [True, True, False]
    assert ration.take("b")
    now = 30.0
    assert [ration.take("a") for _ in range(2)] == [True, False]
