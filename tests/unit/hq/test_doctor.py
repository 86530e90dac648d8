"""`pbal-hq doctor` on an HQ that is well, and on one after the other that is not."""

import datetime
import http.server
import json
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from pbal_hq.ca import HQ, Pki
from pbal_hq.doctor.cluster import cluster, judged


@pytest.fixture
def plain(hq, tmp_path):
    """The configuration of an HQ whose broker and database run, as a file."""
    return hq.written(tmp_path / "hq.toml")


@pytest.fixture
def examined(run):
    """{check: [(level, words, remedy)]} of the doctor, and whether it was well."""

    def examine(file, code):
        data = json.loads(run("doctor", "-c", file, "--json", code=code).stdout)
        assert data["ok"] == (code == 0)
        found = {}
        for item in data["findings"]:
            assert item["remedy"] or item["level"] != "error" or item["check"] == "schema", item
            found.setdefault(item["check"], []).append(
                (item["level"], item["words"], item["remedy"])
            )
        return found

    return examine


def levels(found, check):
    return {level for level, _, _ in found[check]}


def test_one_that_is_well(plain, hq, examined, run):
    found = examined(plain, 0)
    for check in ("database", "schema", "broker", "bus", "certificates"):
        assert levels(found, check) == {"ok"}, found[check]
    assert levels(found, "backups") == levels(found, "replication") == {"note"}
    assert levels(found, "processes") == {"warning"}  # nothing was started yet
    run("doctor", "-c", plain, "--strict", code=16)
    said = run("doctor", "-c", plain).stdout
    assert "ok      database" in said
    assert "-> pbal-hq all" in said


def test_without_a_broker(plain, hq, examined):
    hq.broker.kill()
    ((level, words, _),) = examined(plain, 16)["broker"]
    assert level == "error"
    assert "refused" in words


def test_with_tunnels_that_are_down(plain, hq, examined, tmp_path, run):
    assert "tunnel" not in examined(plain, 0)
    # The loopback stands for an interface that is up.
    for interface, expected in (("pbal-none", "error"), ("lo", "ok")):
        table = f'[network]\nendpoint = "hq.example.org"\ninterface = "{interface}"\n'
        file = hq.written(tmp_path / f"{interface}.toml", table)
        if expected == "error":
            ((level, words, remedy),) = examined(file, 16)["tunnel"]
            assert (level, remedy) == ("error", "pbal-hq network init")
            run("network", "init", "-c", file)
        found = examined(file, 0 if expected == "ok" else 16)
        ((level, words, remedy),) = found["tunnel"]
        assert level == expected, words
        assert interface in words
        assert level == "ok" or f"network/{interface}.conf" in remedy


def test_with_a_certificate_that_the_broker_does_not_know(plain, hq, examined, tmp_path):
    now = datetime.datetime.now(datetime.UTC)
    other = Pki(tmp_path / "other").make("another", now)
    hq.pki.write(HQ, other.client_with_key(HQ, 100, now))
    assert levels(examined(plain, 16), "broker") == {"error"}


def test_without_a_database(plain, hq, examined, tmp_path):
    plain.write_text(plain.read_text().replace(hq.url, f"host={tmp_path} dbname=x"))
    found = examined(plain, 16)
    assert levels(found, "database") == {"error"}
    assert "schema" not in found


def test_with_a_schema_that_is_older(plain, hq, examined):
    with psycopg.connect(hq.url) as db:
        db.execute("DELETE FROM schema_step WHERE number = (SELECT max(number) FROM schema_step)")
    ((level, words, remedy),) = examined(plain, 16)["schema"]
    assert (level, remedy) == ("error", "pbal-hq db migrate")
    assert "1 steps" in words


def test_with_certificates_that_end(plain, hq, examined):
    now = datetime.datetime.now(datetime.UTC)
    hq.pki.write(HQ, hq.pki.authority().client_with_key(HQ, 30, now))
    found = examined(plain, 0)
    assert ("warning", "that of hq is good for 30 days", "pbal-hq init") in found["certificates"]
    hq.pki.write(HQ, hq.pki.authority().client_with_key(HQ, 3, now))
    assert "error" in levels(examined(plain, 16), "certificates")


@pytest.mark.parametrize(("age_h", "level"), [(5, "ok"), (31, "error"), (None, "error")])
def test_of_backups_it_knows_the_age(hq, examined, tmp_path, age_h, level):
    stop = datetime.datetime.now(datetime.UTC).timestamp() - 3600 * (age_h or 0)
    one = {"label": "F", "type": "full", "timestamp": {"stop": int(stop)}}
    info = [{"name": "pbal", "backup": [] if age_h is None else [one]}]
    says = tmp_path / "info.py"
    says.write_text(f"print({json.dumps(info)!r})")
    more = f'[backup]\ninfo = ["{sys.executable}", "{says}"]\n'
    found = examined(hq.written(tmp_path / "hq.toml", more), 0 if level == "ok" else 16)
    assert levels(found, "backups") == {level}


def test_backups_that_cannot_be_asked(hq, examined, tmp_path):
    more = f'[backup]\ninfo = ["{tmp_path}/none"]\n'
    assert levels(examined(hq.written(tmp_path / "hq.toml", more), 16), "backups") == {"error"}


def test_a_role_that_nobody_runs(hq, examined, tmp_path):
    file = hq.written(tmp_path / "hq.toml", '[standby]\nroles = ["bridge"]\n')
    ((_, words, remedy),) = examined(file, 16)["roles"]
    assert "bridge" in words
    assert remedy == "start one: pbal-hq run bridge"
    with psycopg.connect(hq.url) as db:
        db.execute("INSERT INTO role_lease VALUES ('bridge', 'x', now() + interval '1 minute')")
    assert "roles" not in examined(file, 0)


class Told(http.server.BaseHTTPRequestHandler):
    text = b""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, *_):
        pass


def test_processes_that_fail_or_are_gone(plain, hq, examined):
    server = http.server.HTTPServer(("127.0.0.1", 0), Told)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    folder = Path(hq.config.data) / "metrics"
    folder.mkdir()
    address = f"127.0.0.1:{server.server_port}"
    (folder / "hq-all.json").write_text(json.dumps([{"targets": [address], "labels": {}}]))
    try:
        Told.text = b'pbal_hq_role_failing{role="store"} 0.0\n'
        assert levels(examined(plain, 0), "processes") == {"ok"}
        Told.text = b'pbal_hq_role_failing{role="store"} 1.0\n'
        assert "store does not work" in examined(plain, 16)["processes"][0][1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "does not answer" in examined(plain, 16)["processes"][0][1]


# -- the database's cluster, by what Patroni's /cluster says --------------------------------------


def member(name, role, state="streaming"):
    return {"name": name, "role": role, "state": state, "timeline": 3}


LEADER = member("db1", "leader", "running")
SYNC = member("db2", "sync_standby")


@pytest.mark.parametrize(
    ("members", "more", "expected"),
    [
        ([LEADER, SYNC], {}, {("ok", "db1 is primary; db2 would follow")}),
        ([LEADER, SYNC], {"pause": True},
         {("ok", "db1 is primary; db2 would follow"),
          ("warning", "Patroni is paused: a lost primary is followed by nobody")}),
        ([LEADER], {}, {("error", "db1 is alone: nobody would follow it")}),
        ([LEADER, member("db2", "replica")], {},
         {("warning", "no standby has every commit: none may follow by itself")}),
        ([LEADER, member("db2", "sync_standby", "start failed")], {},
         {("error", "db2 is start failed"), ("error", "db1 is alone: nobody would follow it")}),
        ([member("db1", "replica"), SYNC], {}, {("error", "there is no primary")}),
        ([], {}, {("error", "there is no primary")}),
    ],
)  # fmt: skip
def test_of_a_cluster_it_knows_whether_another_primary_would_follow(members, more, expected):
    said = {"members": members, **more}
    found = list(judged({"10.0.0.1": said, "10.0.0.2": said}))
    assert {(each.level, each.words) for each in found} == expected
    assert all(each.remedy for each in found if each.level != "ok")


def test_a_member_whose_patroni_is_silent_is_named():
    said = {"members": [LEADER, SYNC]}
    (found,) = judged({"10.0.0.1": said, "10.0.0.2": "timed out"})
    assert (found.level, found.words) == (
        "error", "Patroni of 10.0.0.2 does not answer: timed out")  # fmt: skip
    assert len(list(judged({"a": "x", "b": "y"}))) == 2


def test_one_server_is_no_cluster(hq):
    assert list(cluster(hq.config)) == []
