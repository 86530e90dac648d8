"""What `pbal-hq db cluster` writes, and what it refuses."""

import configparser
import json
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from psycopg.conninfo import conninfo_to_dict

from pbal_hq import failover
from pbal_hq.errors import BackupError, ConfigError

THREE = ("--member", "db1=10.1.0.11", "--member", "db2=10.1.0.12", "--witness", "db3=10.1.0.13")


@pytest.fixture
def plain(tmp_path):
    """A configuration that needs no database."""
    path = tmp_path / "hq.toml"
    path.write_text(f'data = "{tmp_path / "data"}"\n')
    return path


def test_each_machine_gets_its_files(run, plain, tmp_path):
    out = tmp_path / "out"
    said = json.loads(
        run(
            "db", "cluster", "-c", plain, *THREE, "--backups", "/srv/b", "--out", out, "--json"
        ).stdout
    )
    assert {path.name for path in (out / "db3").iterdir()} == {
        "ca.crt", "member.crt", "member.key", "etcd.yml", "pbal-db-etcd.service"}  # fmt: skip
    for file in map(Path, said["files"]):
        text = file.read_text()
        assert not re.search(r"\$[a-z]", text.replace("$MAINPID", "")), f"{file} has a gap"
    patroni = (out / "db1" / "patroni.yml").read_text()
    assert "synchronous_mode: true" in patroni
    assert "mode: required" in patroni
    # Nobody comes in without a certificate but the superuser on the machine itself.
    hba = re.findall(r"^  - ((?:local|host)[a-z]* .*)$", patroni, re.M)
    assert len(hba) == 5
    assert all(" cert" in line or line.startswith("local all postgres peer")
               or line == "local replication postgres peer" for line in hba)  # fmt: skip
    kept = configparser.ConfigParser(interpolation=None)
    kept.read(out / "db1" / "pgbackrest.conf")
    assert kept["global"]["repo1-cipher-type"] == "aes-256-cbc"
    key = tmp_path / "data" / "db-cluster" / "backup.key"
    assert kept["global"]["repo1-cipher-pass"] == key.read_text()
    assert said["backup_key"] == str(key)
    for secret in (key, out / "db1" / "pgbackrest.conf", out / "db1" / "member.key"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert key.read_text() not in said["url"]


def test_hq_asks_both_and_believes_the_one_that_writes(run, plain, tmp_path):
    said = run("db", "cluster", "-c", plain, *THREE, "--out", tmp_path / "o", "--json").stdout
    url = conninfo_to_dict(json.loads(said)["url"])
    assert url["host"] == "10.1.0.11,10.1.0.12"
    assert url["target_session_attrs"] == "read-write"
    assert url["sslmode"] == "verify-full"
    assert int(url["connect_timeout"]) < 10
    assert "archive_mode: 'off'" in (tmp_path / "o" / "db1" / "patroni.yml").read_text()


def test_run_again_it_keeps_authority_and_passphrase(run, plain, tmp_path):
    words = ("db", "cluster", "-c", plain, *THREE, "--backups", "/srv/b", "--out", tmp_path / "o")
    run(*words)
    before = [(tmp_path / "o" / "db1" / name).read_bytes()
              for name in ("ca.crt", "pgbackrest.conf", "member.crt")]  # fmt: skip
    run(*words)
    after = [(tmp_path / "o" / "db1" / name).read_bytes()
             for name in ("ca.crt", "pgbackrest.conf", "member.crt")]  # fmt: skip
    assert before[:2] == after[:2]
    assert before[2] != after[2]


def test_no_site_can_come_in_with_its_certificate(config, run, tmp_path):
    run("db", "cluster", "-c", config, *THREE, "--out", tmp_path / "o")
    ours = x509.load_pem_x509_certificate((tmp_path / "o" / "db1" / "ca.crt").read_bytes())
    sites = x509.load_pem_x509_certificate((tmp_path / "data" / "pki" / "ca.crt").read_bytes())
    assert ours.public_key() != sites.public_key()


@pytest.mark.parametrize(("words", "why"), [
    (("--member", "db1=10.1.0.11"), "two members with data"),
    (("--member", "a=10.1.0.1", "--member", "b=10.1.0.2"), "add --witness"),
    (("--member", "a=10.1.0.1", "--member", "a=10.1.0.2", "--witness", "c=10.1.0.3"), "name a"),
    (("--member", "a=10.1.0.1", "--member", "b=10.1.0.1", "--witness", "c=10.1.0.3"), "10.1.0.1"),
    (("--member", "a=db.example.org", "--member", "b=10.1.0.2"), "no IP address"),
    (("--member", "A B=10.1.0.1", "--member", "b=10.1.0.2"), "NAME=ADDRESS"),
    ((*THREE, "--backups", "relative"), "whole path"),
    ((*THREE, "--backups", "/srv/a b"), "whole path"),
    ((*THREE, "--watchdog", "cat"), "required, automatic or off"),
])  # fmt: skip
def test_what_could_not_work_is_refused(run, plain, tmp_path, words, why):
    out = tmp_path / "o"
    assert why in run("db", "cluster", "-c", plain, *words, "--out", out, code=2).stderr
    assert not out.exists()


def test_addresses_of_ipv6_stand_in_brackets():
    member = failover.read_member("db1=fd00::11")
    assert member.host == "[fd00::11]"
    with pytest.raises(ConfigError):
        failover.read_member("db1")


def test_units_are_understood_by_systemd(run, plain, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    run("db", "cluster", "-c", plain, *THREE, "--backups", "/srv/b", "--out", tmp_path / "o")
    units = sorted((tmp_path / "o" / "db1").glob("*.service")) + sorted(
        (tmp_path / "o" / "db1").glob("*.timer")
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True
    )
    # Programs and users of the members' machines need not be on this one.
    bad = ("Unknown", "Failed to parse", "Missing '='")
    lines = [line for line in done.stderr.splitlines() if "pbal-db" in line]
    assert not [line for line in lines if any(word in line for word in bad)], lines


def test_the_list_of_backups_is_read():
    when = {"start": 1, "stop": 1_795_919_400}
    one = {"label": "20261129-0230F", "type": "full", "timestamp": when}
    info = [{"name": "pbal", "backup": [one]}, {"name": "other", "backup": []}]
    (read,) = failover.kept(json.dumps(info))
    assert (read.label, read.kind, read.ended.timestamp()) == (
        "20261129-0230F",
        "full",
        1_795_919_400,
    )
    with pytest.raises(BackupError):
        failover.kept("no JSON")


def test_a_moment_without_a_zone_is_refused(run):
    assert "needs its zone" in run("db", "prove-backup", "--at", "2026-11-30T09:00", code=7).stderr
    assert "no moment" in run("db", "prove-backup", "--at", "noon", code=7).stderr
