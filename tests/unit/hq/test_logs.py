"""`pbal-hq logs` without OpenSearch: what is asked, what goes wrong, rsyslog's files, privacy."""

import asyncio
import datetime
import http.server
import io
import json
import logging
import os
import re
import subprocess
import threading

import pytest
from rigs.hq import execute
from rigs.journal import Journal, require_journal_writer
from rigs.needs import missing, require_file

from pbal_engines import Service
from pbal_engines.opensearch import READER, WRITER
from pbal_host.logs import JsonFormatter
from pbal_hq import logs, logstore
from pbal_hq.cli import logs as cli
from pbal_hq.config import Config, LogsConfig
from pbal_hq.errors import ConfigError
from pbal_hq.logstore import search
from pbal_hq.supervisor import Supervisor

NOW = datetime.datetime(2026, 11, 29, 8, tzinfo=datetime.UTC)


@pytest.fixture
def server():
    """A stand-in that answers every request with `status` and `body`, and keeps what was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status, body, seen = 200, b"{}", []

        def answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            Handler.seen.append((self.command, self.path, self.rfile.read(length), self.headers))
            self.send_response(Handler.status)
            self.send_header("Content-Length", str(len(Handler.body)))
            self.end_headers()
            self.wfile.write(Handler.body)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *words):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    Handler.url = f"http://127.0.0.1:{made.server_address[1]}"
    yield Handler
    made.shutdown()
    made.server_close()
    thread.join()


def written(tmp_path, **logs_table):
    file = tmp_path / "hq.toml"
    table = "".join(f"{name} = {json.dumps(value)}\n" for name, value in logs_table.items())
    file.write_text(f'data = "{tmp_path}/data"\n[logs]\n{table}')
    return file


def hits(*lines):
    found = [{"_id": str(n), "_source": {"id": str(n), **line}} for n, line in enumerate(lines)]
    return json.dumps({"hits": {"hits": found}}).encode()


@pytest.mark.parametrize(
    ("text", "ago_s"),
    [("30s", 30), ("15m", 900), (" 2 h ", 7200), ("7d", 604_800), ("2w", 1_209_600),
     ("2026-11-29T07:00", 3600), ("2026-11-29T12:30+05:30", 3600), ("2026-11-28", 115_200)],
)  # fmt: skip
def test_since(text, ago_s):
    assert (NOW - logstore.period(text, NOW)).total_seconds() == ago_s


@pytest.mark.parametrize("text", ["", "2", "2 hours", "-2h", "999999w", "yesterday", "2026-13-01"])
def test_since_that_nobody_can_mean(text):
    with pytest.raises(ConfigError, match="--since"):
        logstore.period(text, NOW)


def test_what_is_asked(server, run, tmp_path):
    (tmp_path / "pw").write_text("its password\n")
    file = written(tmp_path, url=server.url, password_file="pw")
    server.body = hits(
        {"time": "2026-11-29T07:59:59.123456+00:00", "level": "error", "site": "7",
         "role": "controller", "message": "home silent\x1b[2J", "home": "5",
         "fields": {"why": "no answer", "traceback": "one\ntwo"}},
        {"time": "2026-11-29T07:00:00.5+00:00", "level": "info", "host": "hq", "message": "older"},
    )  # fmt: skip
    said = run("logs", "007", "--level", "warning", "--trace", "ABC", "--role", "store",
               "--saved", "homes", "-c", file)  # fmt: skip
    method, path, body, heads = server.seen[-1]
    assert (method, path) == ("POST", "/pbal-logs-*/_search?ignore_unavailable=true")
    assert heads["Authorization"].startswith("Basic ")
    asked = json.loads(body)
    filters = asked["query"]["bool"]["filter"]
    assert {"terms": {"level": ["warning", "error", "critical"]}} in filters
    for name, value in (("site", "7"), ("trace", "abc"), ("role", "store")):
        assert {"term": {name: value}} in filters
    assert search.saved("homes")["query"] in filters
    # Oldest first; a terminal is told nothing by a site.
    assert said.stdout.splitlines() == [
        "2026-11-29T07:00:00.5+0 info     hq: older",
        "2026-11-29T07:59:59.123 error    site 7 controller: home silent [2J home='5' "
        "why='no answer'",
        "    one", "    two",
    ]  # fmt: skip
    assert "its password" not in said.stdout + said.stderr
    lines = run("logs", "--json", "-c", file).stdout.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["older", "home silent\x1b[2J"]


def test_what_goes_wrong_is_one_line_and_a_code(server, run, tmp_path):
    def told(code, *words, **table):
        err = run("logs", *words, "-c", written(tmp_path, **table), code=code).stderr
        assert err.startswith("pbal-hq: ")
        assert "Traceback" not in err
        return err

    assert "set logs.url" in told(2)
    assert "begins with https" in told(2, url="http://search.example.org")
    assert "logs.url" in told(2, url="https://user:word@search.example.org")
    assert "does it run" in told(19, url="http://127.0.0.1:1")
    assert "logs.password_file" in told(2, url=server.url, password_file="missing")
    (tmp_path / "empty").write_text("\n")
    assert "holds no password" in told(2, url=server.url, password_file="empty")
    assert "logs.ca" in told(2, url="https://127.0.0.1:1")
    for words in (("mill",), ("7", "--level", "bad"), ("--since", "x"), ("--saved", "x")):
        told(2, *words, url=server.url)
    assert "no line since" in _answer(server, 200, hits(), told, 6)
    assert "does not let pbal-hq-logs in" in _answer(server, 401, b"", told)
    assert "does not let pbal-hq-logs in" in _answer(server, 403, b"{}", told)
    assert "cannot do it now (503)" in _answer(server, 503, b"{}", told)
    assert "too much to do" in _answer(server, 429, b"{}", told)
    why = json.dumps({"error": {"reason": "no such field"}}).encode()
    assert "no such field (400)" in _answer(server, 400, why, told)
    assert "it refused (404)" in _answer(server, 404, b"not json", told)
    assert "no JSON" in _answer(server, 200, b"<html>", told)
    assert "without 'hits'" in _answer(server, 200, b"[]", told)


def _answer(server, status, body, told, code=19):
    server.status, server.body = status, body
    return told(code, url=server.url)


def test_days_that_are_too_old_are_dropped(server):
    config = Config(logs=LogsConfig(url=server.url, keep_days=10))
    server.body = json.dumps([
        {"index": f"pbal-logs-{day}"}
        for day in ("2026.11.19", "2026.11.18", "2026.10.01", "2026.02.31", "x", "2026.11.29")
    ]).encode()  # fmt: skip
    with logstore.opened(config) as place:
        gone = place.expire(NOW)
    assert [str(day) for day in gone] == ["2026-10-01", "2026-11-18"]
    deleted = [path for method, path, *_ in server.seen if method == "DELETE"]
    assert deleted == ["/pbal-logs-2026.10.01", "/pbal-logs-2026.11.18"]


def test_the_configuration_says_where_logs_are(server, run, tmp_path):
    said = run("check-config", "-c", written(tmp_path, url=server.url, keep_days=9)).stdout
    assert f"logs: {server.url} as pbal-hq-logs, kept 9 days" in said
    assert "logs: no OpenSearch" in run("check-config", "-c", written(tmp_path)).stdout


def test_rsyslogs_files(run, config, tmp_path):
    """What the command writes is a configuration for rsyslog, with the journal as its source."""
    program = require_file("/usr/sbin/rsyslogd", "rsyslog-elasticsearch")
    require_file("/usr/share/doc/rsyslog-relp", "rsyslog-relp")
    out = tmp_path / "out"
    run("logs", "rsyslog", "--out", out, "-c", config, code=2)
    (config.parent / "word").write_text("a-word-of-its-own")
    with config.open("a") as file:
        file.write('\n[logs]\nurl = "https://localhost:9200"\nship_password_file = "word"\n')
        file.write('[network]\nendpoint = "hq.example.org"\n')
    run("db", "migrate", "-c", config)
    run("transformer", "add", "TR-1", "--in", "KL/ERN/ALU/F12", "-c", config)
    run("site", "add", 7, "--transformer", "TR-1", "-c", config)
    url = json.loads(run("check-config", "--json", "-c", config).stdout)["database"]["url"]
    execute(url, f"INSERT INTO site_tunnel VALUES (7, '10.77.0.2', '{'k' * 44}', now())")
    pki = tmp_path / "pki"
    pki.mkdir()
    for name in ("hq-ca.crt", "logs.crt", "logs.key"):
        (pki / name).touch()
    run("logs", "rsyslog", "--out", out, "--pki", pki, "-c", config)
    sites = tmp_path / "data" / "network" / "log-sites.json"
    table = json.loads(sites.read_text())
    assert table["table"] == [{"index": "10.77.0.2", "value": "7"}]
    assert table["nomatch"] == "unknown"
    sites.unlink()
    run("network", "init", "-c", config)  # and whatever changes the tunnels
    assert json.loads(sites.read_text()) == table
    assert (out / "hq.conf").stat().st_mode & 0o077 == 0
    assert 'pwd="a-word-of-its-own"' in (out / "hq.conf").read_text()
    site = (out / "site.conf").read_text()
    assert "a-word-of-its-own" not in site
    assert 'target="10.77.0.1"' in site
    for name in ("hq", "site"):
        done = subprocess.run(
            [program, "-N1", "-f", out / f"{name}.conf"], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    default = logstore.site_conf(Config())
    assert 'tls.caCert="/etc/pbal/hq-ca.crt"' in default
    for path in ('a"b', "a\nb", "a*"):
        with pytest.raises(ConfigError, match="such characters"):
            logstore.site_conf(Config(), pki=tmp_path / path)


JOURNAL = [
    ("pbal-controller.service", '{"time": 1.5, "level": "warning", "logger": "pbal_controller.x",'
     ' "message": "home silent", "home": 5, "name": "Nair"}'),
    ("ssh.service", '{"message": "a login"}'),
    ("pbal-controller.service", "a panic about Nair"),
    ("pbal-hq.service", '{"time": 2, "level": "info", "logger": "pbal_hq.roles",'
     ' "message": "HQ runs", "roles": "store"}'),
    ("pbal-hq@lake.service", '{"time": 3, "level": "info", "message": "of one", "role": "lake"}'),
    ("pbal-hq-broker.service", "a client connected"),
]  # fmt: skip


def test_new_lines_are_shown_once_until_ctrl_c(run, tmp_path, monkeypatch):
    """It looks back over what it has shown, as lines overtake each other."""
    a, b, late = ({"id": name, "message": name, "level": "info"} for name in ("a", "b", "late"))
    answers = iter([[a], [a, b], [a, late, b]])
    asked = []

    class Place:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def lines(self, wanted, most):
            return next(answers)

        def came(self, wanted):
            asked.append(wanted)
            found = next(answers, None)
            if found is None:
                raise KeyboardInterrupt
            return found

    monkeypatch.setattr(logstore, "opened", lambda config: Place())
    monkeypatch.setattr(cli, "_FOLLOW_S", 0.0)
    file = tmp_path / "hq.toml"
    file.write_text(f'data = "{tmp_path}"\n[logs]\nurl = "http://localhost:9200"\n')
    said = run("logs", "7", "--level", "warning", "--follow", "--json", "-c", file)
    assert [json.loads(line)["id"] for line in said.stdout.splitlines()] == ["a", "b", "late"]
    assert said.stderr == ""
    assert {(wanted.site, wanted.level) for wanted in asked} == {("7", "warning")}


@pytest.mark.parametrize(
    ("whose", "expected"),
    [("site", ["home silent", "a line that is no JSON: see the site's journal"]),
     ("hq", ["HQ runs", "of one"])],
)  # fmt: skip
def test_the_units_lines_come_out_of_the_journal(tmp_path, whose, expected):
    """A real journal, read by the shipped configuration; what it would send goes into a file."""
    rsyslogd = require_file("/usr/sbin/rsyslogd", "rsyslog-elasticsearch")
    require_file("/usr/share/doc/rsyslog-relp", "rsyslog-relp")
    require_journal_writer()
    if os.geteuid():
        missing("root", "A mount namespace has the journal at its place.")
    spool, shipped = tmp_path / "spool", tmp_path / "shipped"
    config = Config(data=tmp_path / "data", logs=LogsConfig(url="https://localhost:9200"))
    make = logstore.site_conf if whose == "site" else logstore.hq_conf
    text = make(config, spool=spool)
    template = "pbal_line" if whose == "site" else "a_line"
    text = re.sub(
        r'action\(\s*type="(omrelp|omelasticsearch)".*?\n    \)',
        f'action(type="omfile" file="{shipped}" template="{template}")', text, flags=re.S,
    )  # fmt: skip
    text = 'template(name="a_line" type="string" string="%$!doc%\\n")\n' + text
    text = re.sub(r'input\(\s*type="imrelp".*?\n\)', "", text, flags=re.S)
    (tmp_path / "data" / "network").mkdir(parents=True)
    logstore.sites_file(config).write_text(logstore.sites_table([]))
    (tmp_path / "pbal.conf").write_text(text)
    (tmp_path / "main.conf").write_text(
        f'global(workDirectory="{spool}")\ninclude(file="{tmp_path}/pbal.conf")\n'
    )
    spool.mkdir()
    journal = Journal(tmp_path)
    for unit, message in JOURNAL:
        journal.say(message, unit)
    journal.close()
    words = journal.read_by(rsyslogd, "-n", "-f", tmp_path / "main.conf", "-i", spool / "pid")

    def there():
        found = shipped.read_text() if shipped.exists() else ""
        return all(message in found for message in expected)

    with Service("rsyslog", words, tmp_path / "rsyslog") as service:
        service.wait(there, "lines of the journal", 60)
        text = shipped.read_text()
    assert len(text.splitlines()) == len(expected)
    assert "Nair" not in text


async def test_each_line_of_json_says_which_role_it_is_of():
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter(logs._context))
    logger = logging.getLogger("pbal_hq.test")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    done = asyncio.Event()

    async def body(beat):
        logger.info("of its own")
        await asyncio.to_thread(logger.info, "of its thread")
        await asyncio.create_task(asyncio.to_thread(logger.info, "of its task"))
        logger.info("of another", extra={"role": "lake"})
        done.set()
        await asyncio.sleep(3600)

    supervisor = Supervisor()
    supervisor.add("store", body)
    task = asyncio.create_task(supervisor.run())
    try:
        await asyncio.wait_for(done.wait(), 60)
    finally:
        task.cancel()
        await asyncio.wait([task])
        logger.removeHandler(handler)
    logger.info("of none")
    found = [
        (line["message"], line["role"]) for line in map(json.loads, out.getvalue().splitlines())
    ]
    assert found == [("of its own", "store"), ("of its thread", "store"), ("of its task", "store"),
                     ("of another", "lake")]  # fmt: skip


def test_the_labs_users_are_those_of_the_configuration():
    assert (LogsConfig().user, LogsConfig().ship_user) == (READER, WRITER)
