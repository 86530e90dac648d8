"""`pbal-hq user`, `audit` and `portal` as a person calls them."""

import asyncio
import json

import pytest
from rigs import people
from rigs.hq import execute

from pbal_hq.auth import Grant, NotKnown, Role, services


@pytest.fixture
def hq(database_url, tmp_path, run):
    file = tmp_path / "hq.toml"
    file.write_text(f'data = "{tmp_path}"\n[database]\nurl = "{database_url}"\n')

    def call(*words, code=0):
        done = run(*words, "--config", file, code=code)
        return done.stdout if code == 0 else done.stderr

    return call


async def call(hq, *words, code=0):
    """The same from within a loop: the command runs one of its own."""
    return await asyncio.to_thread(hq, *words, code=code)


def test_the_first_user_and_a_lost_way_in(hq):
    first = json.loads(hq("user", "first", "admin", "--json"))
    assert len(first["password"]) == 20
    assert "users already" in hq("user", "first", "eve", code=6)
    again = hq("user", "reset", "admin")
    assert first["password"] not in again
    assert "no user nobody" in hq("user", "reset", "nobody", code=6)


async def test_a_user_who_only_looks_is_made_here(hq, database_url):
    async with people.connected(database_url) as conn:
        await people.make(conn)
    made = json.loads(await call(hq, "user", "add", "anjali", "--whole", "--json"))
    assert len(made["password"]) == 20
    await call(hq, "user", "add", "ravi", "--in", "KL/EKM/D1", "--role", "auditor")
    found = execute(
        database_url,
        "SELECT p.name, p.password_is_initial, g.role, g.whole FROM person p JOIN person_grant g"
        " ON g.person_id = p.id WHERE p.name IN ('anjali', 'ravi') ORDER BY p.name",
    )
    assert found == [("anjali", True, "official", True), ("ravi", True, "auditor", False)]
    assert "a user anjali already" in await call(hq, "user", "add", "anjali", "--whole", code=7)
    assert "one of --whole" in await call(hq, "user", "add", "eve", code=2)
    assert "no area KL/X" in await call(hq, "user", "add", "eve", "--in", "KL/X", code=6)
    wish = ("user", "add", "eve", "--whole", "--role", "operator")
    assert "not one of" in await call(hq, *wish, code=2)


def test_the_audit_log_is_verified_and_exported(hq, database_url):
    hq("user", "first", "admin")
    hq("user", "reset", "admin")
    seen = json.loads(hq("audit", "verify", "--json"))
    assert (seen["ok"], seen["entries"]) == (True, 3)
    lines = [json.loads(line) for line in hq("audit", "export").splitlines()]
    assert [line["action"] for line in lines] == ["user.create", "user.grants", "user.reset"]
    assert "fit" in hq("audit", "verify", "--known", seen["last"])
    assert "as ID:HASH" in hq("audit", "verify", "--known", "x", code=2)
    execute(database_url, "ALTER TABLE audit DISABLE TRIGGER USER")
    execute(database_url, "DELETE FROM audit WHERE id = 3")
    assert "fit" in hq("audit", "verify")
    assert "missing at the end" in hq("audit", "verify", "--known", seen["last"], code=9)
    execute(database_url, "UPDATE audit SET actor = 'eve' WHERE id = 2")
    assert "entry 2 was changed" in hq("audit", "verify", code=9)


def test_the_secrets_are_made_once(hq, tmp_path):
    made = json.loads(hq("portal", "init", "--json"))
    assert json.loads(hq("portal", "init", "--json")) == made
    for name in ("portal.secret", "command.key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    (tmp_path / "command.key").chmod(0o644)
    assert "others may read it" in hq("portal", "init", code=3)


async def known(url, token):
    """The machine's grants as the API finds them; None where it is not let in."""
    async with people.connected(url) as conn:
        try:
            return (await services.find(conn, token)).grants
        except NotKnown:
            return None


async def test_a_machines_token_is_made_listed_renewed_and_revoked(hq, database_url):
    async with people.connected(database_url) as conn:
        fleet = await people.make(conn)
    made = json.loads(await call(hq, "token", "add", "scada", "--in", "KL/EKM/D1", "--json"))
    granted = Grant(Role.OFFICIAL, area_id=fleet.areas["D1"])
    assert await known(database_url, made["token"]) == (granted,)
    one = await call(hq, "token", "add", "one", "--transformer", "T2", "--role", "auditor")
    granted = Grant(Role.AUDITOR, transformer_id=fleet.transformers["T2"])
    assert await known(database_url, one.split()[0]) == (granted,)
    renewed = (await call(hq, "token", "renew", "scada")).split()[0]
    assert await known(database_url, made["token"]) is None
    assert await known(database_url, renewed)
    assert "has ended" in await call(hq, "token", "revoke", "scada")
    assert await known(database_url, renewed) is None
    assert "has no token" in await call(hq, "token", "revoke", "scada", code=6)
    listed = json.loads(await call(hq, "token", "list", "--json"))
    assert [(m["name"], m["active"]) for m in listed] == [("one", True), ("scada", False)]
    again = (await call(hq, "token", "renew", "scada")).split()[0]
    assert await known(database_url, again)
    actions = execute(database_url, "SELECT action FROM audit WHERE object = 'user scada'")
    assert [a for (a,) in actions] == ["user.create", "user.grants", "user.reset",
                                       "user.deactivate", "user.reset"]  # fmt: skip


def test_a_machine_that_is_none_is_told(hq):
    hq("user", "first", "admin")
    assert "one of --whole" in hq("token", "add", "scada", code=2)
    assert "one of --whole" in hq("token", "add", "scada", "--whole", "--in", "KL", code=2)
    assert "no area KL/X" in hq("token", "add", "scada", "--in", "KL/X", code=6)
    assert "no transformer T9" in hq("token", "add", "scada", "--transformer", "T9", code=6)
    assert "is a person" in hq("token", "revoke", "admin", code=7)
    assert "no machine scada" in hq("token", "renew", "scada", code=6)
    assert "2 to 40" in hq("token", "add", "X", "--whole", code=7)
    assert "not one of" in hq("token", "add", "x1", "--whole", "--role", "engineer", code=2)
    assert json.loads(hq("token", "list", "--json")) == []
