"""Logging in at an OpenID Connect provider, and tokens of machines."""

import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from rigs import browser, oidc, people

from pbal_hq.auth import oidc as openid
from pbal_hq.auth import provider
from pbal_hq.config import OidcConfig

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def idp():
    async with oidc.provider() as made:
        made.user = {"sub": "s-77", "preferred_username": "Ana"}
        yield made


@pytest.fixture
async def conn(peopled):
    return peopled


def settings(idp, folder, portal="https://hq.test"):
    secret = folder / "oidc.secret"
    secret.write_text(oidc.SECRET)
    return OidcConfig(issuer=idp.issuer, client_id=oidc.CLIENT, client_secret_file=secret,
                      portal_url=portal)  # fmt: skip


@pytest.fixture
async def client(conn, database_url, idp, tmp_path):
    async with people.portal(database_url) as made:
        made.desk.provider = openid.Provider(settings(idp, tmp_path))
        yield made


async def new_user(conn, name, role="official", **how):
    who, _ = await people.who(conn, "administrator-whole")
    from pbal_hq.auth import Grant, Role
    from pbal_hq.auth import people as room

    grants = [Grant(Role(role), whole=True)] if role else []
    return await room.create(conn, who, name, "", grants, how.get("login", "provider"))


async def round_trip(client, **query):
    """To the provider and back; the portal's last answer."""
    first = await client.get("/login/provider?next=/alarms")
    assert first.status_code == 303
    async with httpx.AsyncClient() as web:
        there = await web.get(first.headers["location"])
    assert there.status_code == 302
    back = urlsplit(there.headers["location"])
    asked = {k: v[0] for k, v in parse_qs(back.query).items()} | query
    return await client.get(back.path, params=asked)


async def me(client):
    token = client.cookies.get("__Host-pbal")
    return await client.get("/api/v1/me", headers={"authorization": f"Bearer {token}"})


async def test_a_user_of_the_provider_gets_in(client, conn, idp):
    await new_user(conn, "ana")
    got = await round_trip(client)
    assert got.status_code == 200
    assert "0;url=/alarms" in got.text
    assert (await me(client)).json()["name"] == "ana"
    # The subject counts from now on, whatever name it has.
    idp.user = {"sub": "s-77", "preferred_username": "ana.maria"}
    assert (await round_trip(client)).status_code == 200
    idp.user = {"sub": "s-78", "preferred_username": "ana"}
    got = await round_trip(client)
    assert got.status_code == 401, "another subject of that name"
    rows = await (await conn.execute("SELECT action FROM audit ORDER BY id")).fetchall()
    assert [a for (a,) in rows][-5:] == ["user.grants", "user.bound", "login", "login",
                                         "login.refused"]  # fmt: skip
    # A password does not let them in, nor what is stored in its place.
    for password in ("!", "", "pbal"):
        given = {"name": "ana", "password": password, "code": ""}
        assert (await client.post("/api/v1/login", json=given)).status_code == 401


async def test_who_is_no_user_of_the_provider_stays_out(client, conn, idp):
    for name in ("official-whole", "nobody", ""):
        idp.user = {"sub": name or "x", "preferred_username": name}
        assert (await round_trip(client)).status_code == 401, name
    number, _ = await new_user(conn, "ana")
    await conn.execute("UPDATE person SET active = false WHERE id = %s", (number,))
    idp.user = {"sub": "1", "preferred_username": "ana"}
    assert (await round_trip(client)).status_code == 401


WRONG = {
    "nonce": {"nonce": "another"},
    "audience": {"aud": "somebody else"},
    "issuer": {"iss": "https://evil.test"},
    "expired": {"exp": int(time.time()) - 3600},
    "for another party": {"aud": [oidc.CLIENT, "b"], "azp": "b"},
    "no subject": {"sub": None},
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_token_that_is_not_right_is_refused(client, conn, idp, what):
    await new_user(conn, "ana")
    idp.spoil = WRONG[what]
    assert (await round_trip(client)).status_code == 401
    assert client.cookies.get("__Host-pbal") is None


async def test_keys_algorithms_states_and_codes(client, conn, idp):
    from joserfc.jwk import OctKey, RSAKey

    await new_user(conn, "ana")
    idp.shown = idp.key
    idp.key = RSAKey.generate_key(2048, auto_kid=True)
    assert (await round_trip(client)).status_code == 401, "signed by a key that is not published"
    idp.shown = None
    assert (await round_trip(client)).status_code == 200, "a new key is read"
    # A shared secret under the name of the published key: only signatures by key pairs count.
    rsa = idp.key
    idp.key = OctKey.import_key({"kty": "oct", "k": "c2VjcmV0" * 8, "kid": rsa.kid})
    idp.shown, idp.algorithm = rsa, "HS256"
    assert (await round_trip(client)).status_code == 401
    idp.key, idp.shown, idp.algorithm = rsa, None, "RS256"
    before = idp.asked_tokens
    assert (await round_trip(client, state="another")).status_code == 401
    assert (await round_trip(client, code="")).status_code == 401
    assert (await round_trip(client, error="access_denied")).status_code == 401
    assert idp.asked_tokens == before, "the provider was not asked"
    assert (await round_trip(client, code="guessed")).status_code == 401
    client.cookies.clear()
    got = await client.get(provider.BACK, params={"state": "x", "code": "y"})
    assert got.status_code == 401, "a login that another browser began"


async def test_who_commands_needs_the_second_factor_here_too(client, conn, idp):
    number, _ = await new_user(conn, "ana", "operator")
    assert (await round_trip(client)).status_code == 200
    assert (await me(client)).json()["pending"] == "totp"
    sealed = client.desk.keys.seal(people.SECRET)
    await conn.execute(
        "UPDATE person SET totp_sealed = %s, totp_confirmed = true WHERE id = %s", (sealed, number)
    )
    client.cookies.clear()
    got = await round_trip(client)
    assert "Code of the second factor" in got.text
    assert client.cookies.get("__Host-pbal") is None
    wrong = await client.post("/login/provider/code", data={"code": "000000"})
    assert wrong.status_code == 401
    right = await client.post("/login/provider/code", data={"code": people.code()})
    assert right.status_code == 200
    assert (await me(client)).json()["pending"] == ""
    assert "command.run" in (await me(client)).json()["permissions"]
    late = await client.post("/login/provider/code", data={"code": people.code()})
    assert late.status_code == 401, "the cookie is gone, and a code counts once"


async def test_a_provider_that_is_away_or_another(client, idp):
    client.desk.provider.config = client.desk.provider.config.model_copy(
        update={"issuer": "http://localhost:9"}
    )
    got = await client.get("/login/provider")
    assert got.status_code == 401
    assert "does not answer as it should" in got.text
    with pytest.raises(ValueError, match="https://"):
        OidcConfig(issuer="http://example.org", client_id="x", portal_url="https://hq.test")
    with pytest.raises(ValueError, match="client_id"):
        OidcConfig(issuer="https://example.org")


async def test_in_a_browser_the_first_page_after_it_is_logged_in(conn, database_url, idp, tmp_path):
    """Cookies that are SameSite=Strict do not go along on a way that began at another site."""
    await new_user(conn, "ana")
    from pbal_sim.hq import free_port

    port = free_port()
    chosen = settings(idp, tmp_path, f"http://127.0.0.1:{port}")
    async with (
        people.served(database_url, tmp_path, oidc=chosen, port=port) as address,
        browser.opened(f"{address}/login?next=/map", within="http://") as page,
    ):
        page.set_default_timeout(people.PAGE_MS)
        await page.click("text=Log in with")
        await page.wait_for_selector("text=Log out")
        await page.wait_for_selector("h1:has-text('Map')")


async def test_a_machine_reads_with_its_token(client, conn):
    number, token = await new_user(conn, "scada", login="token")
    bearer = {"authorization": f"Bearer {token}"}
    assert (await client.get("/api/v1/transformers", headers=bearer)).status_code == 200
    assert (await client.get("/api/v1/users", headers=bearer)).status_code == 403
    hold = {"kind": "mode", "mode": "hold", "why": "x"}
    one = conn.fleet.transformers["T1"]
    got = await client.post(f"/api/v1/transformers/{one}/commands", json=hold, headers=bearer)
    assert got.status_code == 403
    stored = await (await conn.execute("SELECT hash FROM service_token")).fetchone()
    assert token.encode() not in stored[0]
    # It is no cookie, and no role that commands can be given to it, nor works if it was.
    client.cookies.set("__Host-pbal", token)
    assert (await client.get("/transformers")).status_code == 303
    _, admin = await people.who(conn, "administrator-whole")
    theirs = {"authorization": f"Bearer {admin}"}
    grants = {"grants": [{"role": "operator", "whole": True}]}
    got = await client.put(f"/api/v1/users/{number}/grants", json=grants, headers=theirs)
    assert got.status_code == 422
    await conn.execute("UPDATE person_grant SET role = 'operator' WHERE person_id = %s", (number,))
    got = await client.post(f"/api/v1/transformers/{one}/commands", json=hold, headers=bearer)
    assert got.status_code == 403
    await conn.execute("UPDATE person_grant SET role = 'official' WHERE person_id = %s", (number,))
    # Another token ends the one before; shut out, late and unknown ones end, too.
    new = (await client.post(f"/api/v1/users/{number}/reset", headers=theirs)).json()["password"]
    assert (await client.get("/api/v1/me", headers=bearer)).status_code == 401
    bearer = {"authorization": f"Bearer {new}"}
    assert (await client.get("/api/v1/me", headers=bearer)).status_code == 200
    await conn.execute("UPDATE service_token SET expires_at = now()")
    assert (await client.get("/api/v1/me", headers=bearer)).status_code == 401
    await conn.execute("UPDATE service_token SET expires_at = now() + interval '1 day'")
    await client.put(f"/api/v1/users/{number}/active", json={"active": False}, headers=theirs)
    assert (await client.get("/api/v1/me", headers=bearer)).status_code == 401


async def test_calls_have_a_rate(client, conn):
    from pbal_hq.auth import Tries

    client.desk.calls = Tries(5, 60.0)
    _, access = await people.who(conn, "official-whole")
    bearer = {"authorization": f"Bearer {access}"}
    codes = [(await client.get("/api/v1/me", headers=bearer)).status_code for _ in range(7)]
    assert codes == [200] * 5 + [429] * 2
    _, other = await people.who(conn, "auditor-whole")
    again = await client.get("/api/v1/me", headers={"authorization": f"Bearer {other}"})
    assert again.status_code == 200
