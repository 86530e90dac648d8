"""`pbal-hq user`, `audit` and `portal` as a person calls them."""

import json

import pytest
from rigs.hq import execute


@pytest.fixture
def hq(database_url, tmp_path, run):
    file = tmp_path / "hq.toml"
    file.write_text(f'data = "{tmp_path}"\n[database]\nurl = "{database_url}"\n')

    def call(*words, code=0):
        done = run(*words, "--config", file, code=code)
        return done.stdout if code == 0 else done.stderr

    return call


def test_the_first_user_and_a_lost_way_in(hq):
    first = json.loads(hq("user", "first", "admin", "--json"))
    assert len(first["password"]) == 20
    assert "users already" in hq("user", "first", "eve", code=6)
    again = hq("user", "reset", "admin")
    assert first["password"] not in again
    assert "no user nobody" in hq("user", "reset", "nobody", code=6)


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
