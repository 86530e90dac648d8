"""Logging in, staying in, and out."""

import base64
import time

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from rigs import people
from rigs.people import MASTER, PASSWORD, SECRET

from pbal_hq.auth import Keyring, NotAllowed, NotKnown, Permission, sessions, tokens, totp
from pbal_hq.auth import people as users

KEYS = Keyring([MASTER])


async def log_in(conn, name="operator-whole", password=PASSWORD, code=None, now_s=None):
    now_s = now_s or time.time()
    code = people.code(now_s) if code is None else code
    return await sessions.login(conn, KEYS, name, password, code, now_s, "127.0.0.1")


@pytest.fixture
async def conn(peopled):
    return peopled


async def actions(conn):
    rows = await (await conn.execute("SELECT actor, action FROM audit ORDER BY id")).fetchall()
    return [tuple(row) for row in rows]


async def test_a_login_and_what_is_known_of_it(conn):
    login = await log_in(conn)
    who = await sessions.find(conn, KEYS, login.access, time.time())
    assert who.name == "operator-whole"
    assert who.scope(Permission.COMMAND_RUN).whole
    with pytest.raises(NotAllowed, match="manage users"):
        who.scope(Permission.USER_MANAGE)
    assert await actions(conn) == [("operator-whole", "login")]


@pytest.mark.parametrize(
    ("name", "password", "code"),
    [
        ("operator-whole", "wrong password 1", None),
        ("operator-whole", PASSWORD, "000000"),
        ("operator-whole", PASSWORD, ""),
        ("nobody", PASSWORD, None),
        ("hunter2hunter2", PASSWORD, None),
    ],
)
async def test_a_wrong_login_tells_nothing(conn, name, password, code):
    with pytest.raises(NotKnown, match=r"^Name, password or code is wrong\.$"):
        await log_in(conn, name, password, code)
    actor = name if name == "operator-whole" else "unknown"
    assert await actions(conn) == [(actor, "login.refused")]


async def test_a_code_counts_once(conn):
    now_s = time.time()
    await log_in(conn, now_s=now_s)
    with pytest.raises(NotKnown):
        await log_in(conn, now_s=now_s)
    with pytest.raises(NotKnown):
        await log_in(conn, now_s=now_s, code=people.code(now_s - totp.STEP_S))
    await log_in(conn, now_s=now_s + totp.STEP_S)


async def test_a_deactivated_user_is_out_at_once(conn):
    login = await log_in(conn)
    admin, _ = await people.who(conn, "administrator-whole")
    row = await (await conn.execute("SELECT id FROM person WHERE name='operator-whole'")).fetchone()
    await users.set_active(conn, admin, row[0], False)
    with pytest.raises(NotKnown):
        await sessions.find(conn, KEYS, login.access, time.time())
    with pytest.raises(NotKnown):
        await sessions.refresh(conn, KEYS, login.refresh, time.time())
    with pytest.raises(NotKnown):
        await log_in(conn, now_s=time.time() + totp.STEP_S)


async def test_an_access_token_lives_for_minutes_and_its_key_for_two_days(conn):
    now_s = time.time()
    login = await log_in(conn, now_s=now_s)
    assert await sessions.find(conn, KEYS, login.access, now_s + tokens.ACCESS_S - 2)
    for later in (tokens.ACCESS_S + 1, 3 * 86_400):
        with pytest.raises(NotKnown):
            await sessions.find(conn, KEYS, login.access, now_s + later)
    with pytest.raises(NotKnown):
        await sessions.find(conn, Keyring([bytes(32)]), login.access, now_s)
    both = Keyring([bytes(32), MASTER])
    with pytest.raises(NotKnown):  # the old master is second now: its name is another
        await sessions.find(conn, both, login.access, now_s)


async def test_a_refresh_token_counts_once(conn):
    now_s = time.time()
    first = await log_in(conn, now_s=now_s)
    second = await sessions.refresh(conn, KEYS, first.refresh, now_s + 700)
    assert second.refresh not in (None, first.refresh)
    # The same browser asked twice at once: it keeps what it has.
    assert (await sessions.refresh(conn, KEYS, first.refresh, now_s + 705)).refresh is None
    third = await sessions.refresh(conn, KEYS, second.refresh, now_s + 1400)
    with pytest.raises(NotKnown, match="two places"):
        await sessions.refresh(conn, KEYS, first.refresh, now_s + 1401)
    # Whoever copied it and whoever it was copied from are out.
    with pytest.raises(NotKnown):
        await sessions.refresh(conn, KEYS, third.refresh, now_s + 1402)
    with pytest.raises(NotKnown):
        await sessions.find(conn, KEYS, third.access, now_s + 1403)
    assert (await actions(conn))[-1] == ("operator-whole", "login.copied")


async def test_a_session_ends_after_its_hours(conn):
    now_s = time.time()
    login = await log_in(conn, now_s=now_s)
    with pytest.raises(NotKnown):
        await sessions.refresh(conn, KEYS, login.refresh, now_s + sessions.SESSION_S + 1)


async def test_sessions_of_long_ago_are_dropped(conn):
    now_s = time.time()
    old = await log_in(conn, now_s=now_s - 40 * 86_400)
    await sessions.refresh(conn, KEYS, old.refresh, now_s - 40 * 86_400 + 60)
    await log_in(conn, now_s=now_s)
    assert await sessions.forget_old(conn) == 1
    row = await (await conn.execute("SELECT count(*) FROM session_used")).fetchone()
    assert row == (0,)


async def test_the_first_steps_of_a_new_user(conn):
    admin, _ = await people.who(conn, "administrator-whole")
    _, first = await users.create(
        conn, admin, "newcomer", "New Comer", [people.Grant(people.Role.OPERATOR, whole=True)]
    )
    login = await log_in(conn, "newcomer", first, "")
    who = await sessions.find(conn, KEYS, login.access, time.time())
    assert who.pending == "password"
    assert not who.permissions
    with pytest.raises(NotAllowed, match="own password"):
        who.scope(Permission.TREE_READ)
    await users.change_password(conn, who, first, "an entirely new phrase")
    who = await sessions.find(conn, KEYS, login.access, time.time())
    assert who.pending == "totp"
    with pytest.raises(NotAllowed, match="second factor"):
        who.scope(Permission.TREE_READ)
    secret = await users.begin_totp(conn, KEYS, who)
    import pyotp

    now_s = time.time()
    await users.confirm_totp(conn, KEYS, who, pyotp.TOTP(secret).at(int(now_s)), now_s)
    who = await sessions.find(conn, KEYS, login.access, now_s)
    assert not who.pending
    assert who.scope(Permission.TREE_READ).whole
    with pytest.raises(NotAllowed):  # nobody puts another factor in its place
        await users.begin_totp(conn, KEYS, who)
    stored = await (
        await conn.execute("SELECT totp_sealed FROM person WHERE name = 'newcomer'")
    ).fetchone()
    assert secret.encode() not in bytes(stored[0])
    assert KEYS.unseal(stored[0]) == secret
    assert secret != SECRET


async def test_an_administrator_is_always_left(conn):
    from pbal_hq.errors import BadInput

    admin, _ = await people.who(conn, "administrator-whole")
    with pytest.raises(BadInput, match="Nobody would be left"):
        await users.set_active(conn, admin, admin.id, False)
    with pytest.raises(BadInput, match="Nobody would be left"):
        await users.set_grants(conn, admin, admin.id, [])
    assert (await sessions.grants_of(conn, admin.id))[0].role == "administrator"


def test_a_secret_is_stored_under_aes_256_and_those_of_older_versions_still_open():
    sealed = KEYS.seal("JBSWY3DPEHPK3PXP")
    assert sealed.startswith(b"v2.")
    assert sealed.isascii()
    assert b"JBSWY3DP" not in base64.urlsafe_b64decode(sealed[3:])
    assert sealed != KEYS.seal("JBSWY3DPEHPK3PXP")
    assert Keyring([bytes(32), MASTER]).unseal(sealed) == "JBSWY3DPEHPK3PXP"
    key = HKDF(SHA256(), 32, None, b"pbal hq sealed").derive(MASTER)
    data = base64.urlsafe_b64decode(sealed[3:])
    assert AESGCM(key).decrypt(data[:12], data[12:], b"v2.") == b"JBSWY3DPEHPK3PXP"
    # As the version before sealed it.
    key = HKDF(SHA256(), 32, None, b"pbal hq totp").derive(MASTER)
    older = Fernet(base64.urlsafe_b64encode(key)).encrypt(b"JBSWY3DPEHPK3PXP")
    assert KEYS.unseal(older) == "JBSWY3DPEHPK3PXP"
    changed = bytearray(sealed)
    changed[10] ^= 1
    cut = (sealed[:-4], sealed[3:], older[:-1], b"v2.", b"v2.AAAA", b"v2.\xff", b"")
    for bad in (bytes(changed), *cut):
        with pytest.raises(ValueError, match="not here"):
            KEYS.unseal(bad)
    for other in (sealed, older):
        with pytest.raises(ValueError, match="not here"):
            Keyring([bytes(32)]).unseal(other)
