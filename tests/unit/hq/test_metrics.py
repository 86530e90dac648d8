"""HQ's metrics: Prometheus' conventions, what they say of a real HQ, and rules that fit them."""

import asyncio
import json
import re
import socket
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from rigs.hq import execute
from rigs.needs import ROOT
from rigs.prometheus import FOLDER, promtool

from pbal_hq import roles
from pbal_hq.bus import Done, FileBus, New, topics
from pbal_hq.ca import Pki
from pbal_hq.config import Config, MetricsConfig
from pbal_hq.errors import ConfigError
from pbal_hq.metrics import Where, serve, where
from pbal_hq.metrics.facts import certificates_left

NAME = re.compile(r"\bpbal_hq_[a-z0-9_]+")
SAMPLE = re.compile(r"([a-z_0-9]+)(?:\{(.*)\})? (\S+)")


def with_metrics(hq, **more):
    """The rig's configuration with any free port for everything."""
    tables = hq.config.model_dump(mode="json", exclude_unset=True)
    tables["portal"] = {"port": 0}
    tables["metrics"] = {"port": 0, **more}
    return Config.model_validate(tables)


def target_of(config, process):
    """Where Prometheus asks this process, by its file."""
    (found,) = json.loads((config.data / "metrics" / f"hq-{process}.json").read_text())
    assert found["labels"] == {"instance": process}
    return f"http://{found['targets'][0]}/metrics"


class Running:
    """HQ's roles in this process."""

    def __init__(self, config, *names):
        self._config, self._names = config, names
        self._task = None

    async def __aenter__(self):
        self._task = asyncio.create_task(roles.run(self._config, list(self._names)))
        process = where(
            self._names, roles.wanted(self._config), list(roles.ROLES), self._config.metrics
        ).process
        file = self._config.data / "metrics" / f"hq-{process}.json"
        for _ in range(1200):
            if file.exists() or self._task.done():
                break
            await asyncio.sleep(0.1)
        if self._task.done():
            self._task.result()
        self.url = target_of(self._config, process)
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait([self._task])

    async def text(self):
        def get():
            with urllib.request.urlopen(self.url, timeout=30) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                return answer.read().decode()

        return await asyncio.to_thread(get)

    async def samples(self):
        """Each sample: name and labels as they stand, and its value."""
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in (await self.text()).splitlines()
            if not line.startswith("#")
        }

    async def until(self, name, fits):
        for _ in range(1200):
            value = (await self.samples()).get(name)
            if value is not None and fits(value):
                return value
            await asyncio.sleep(0.1)
        pytest.fail(f"{name} is {(await self.samples()).get(name)}")


async def test_a_whole_hq_is_seen_and_its_rules_use_what_there_is(hq):
    await hq.add_site(7)
    await hq.add_site(8)
    execute(
        hq.url,
        "UPDATE site_live SET online = true, seen_at = now(), "
        "summary_at = now() - interval '400 s' WHERE site_id = 7",
    )
    execute(
        hq.url,
        "INSERT INTO alarm (transformer_id, kind, severity, raised_at, last_at) "
        "SELECT transformer_id, 'overload', 2, now(), now() FROM site WHERE id = 7",
    )
    # Set aside: nobody is to look after it now.
    execute(
        hq.url,
        "INSERT INTO alarm (transformer_id, kind, severity, raised_at, last_at, shelved_until) "
        "SELECT transformer_id, 'voltage', 2, now(), now(), now() + interval '1 h' FROM site "
        "WHERE id = 7",
    )
    execute(hq.url, "INSERT INTO command (id, site_id, kind, fields, status, asked_by, expires_at) "
                    "VALUES (1, 7, 1, '{}', 'refused', 'a', now() + interval '1 h')")  # fmt: skip
    execute(hq.url, "INSERT INTO certificate (serial, name, site_id, not_before, not_after) "
                    "VALUES ('1', '8', 8, now(), now() + interval '3 days')")  # fmt: skip
    config = with_metrics(hq, controllers=[{"site": 7, "address": "10.77.0.2:8480"}])
    async with Running(config, *roles.wanted(config)) as running:
        await running.until('pbal_hq_role_failing{role="bridge"}', lambda value: value == 0)
        text = await running.text()
        s = await running.samples()
    assert s['pbal_hq_sites{state="online"}'] == 1
    assert s['pbal_hq_sites{state="never_seen"}'] == 1
    assert 399 < s["pbal_hq_newest_window_age_seconds"] < 700
    assert s['pbal_hq_alarms_open{acknowledged="no",severity="alarm"}'] == 1
    assert s['pbal_hq_alarms_open{acknowledged="yes",severity="alarm"}'] == 0
    assert s['pbal_hq_orders_ended_total{status="refused"}'] == 1
    assert s['pbal_hq_orders_open{status="sent"}'] == 0
    assert s["pbal_hq_sites_renewal_late"] == 1
    assert s["pbal_hq_database_up"] == 1
    assert s["pbal_hq_database_connections_limit"] == config.database.pool_max
    for certificate in ("authority", "broker", "hq", "revocation_list"):
        assert s[f'pbal_hq_certificate_left_seconds{{certificate="{certificate}"}}'] > 29 * 86400
    for role in (*roles.wanted(config), "metrics"):
        assert s[f'pbal_hq_role_last_success_age_seconds{{role="{role}"}}'] < 120, role
        assert s[f'pbal_hq_role_restarts_total{{role="{role}"}}'] >= 0
    for group, topic in (("decode", topics.RAW), ("store", topics.SUMMARY), ("bridge", topics.OUT)):
        assert s[f'pbal_hq_bus_lag_records{{group="{group}",topic="{topic}"}}'] == 0
    (controller,) = json.loads((config.data / "metrics" / "controllers.json").read_text())
    assert controller == {"targets": ["10.77.0.2:8480"], "labels": {"instance": "site 7"}}

    conventions(text)
    promtool("check", "metrics", text=text)
    there = set(NAME.findall(text))
    used = set(NAME.findall((FOLDER / "alerts.yml").read_text()))
    # A histogram has samples once something was asked for.
    late = {"pbal_hq_http_request_seconds_bucket"}
    assert len(used) > 10
    assert used - late <= there, sorted(used - there)
    assert "pbal_hq_http_request_seconds" in there


def conventions(text):
    """Names, units and order as the Pi's metrics have them."""
    families = {}
    last = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, words = line[7:].split(" ", 1)
            assert words.endswith(".") or name.startswith("process_"), name
            assert name not in families, f"{name} stands twice"
        elif line.startswith("# TYPE "):
            last, kind = line[7:].split(" ")
            families[last] = kind
            assert last.startswith(("pbal_hq_", "process_")), last
            assert (kind == "counter") == last.endswith("_total"), last
            assert not re.search(r"_(ms|minutes|days|mb|percent)(_|$)", last), last
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1].startswith(last), "the samples of a family stand together"
            float(match[3])


async def test_work_is_counted(hq):
    """A message of nobody: it is taken, opened, and kept as a dead letter."""
    from pbal_hq.ingest.wording import Raw

    config = with_metrics(hq)
    async with Running(config, "decode", "store", "enrol") as running:
        before = await running.samples()
        async with FileBus(config.data / "bus" / "bus.db") as bus:
            raw = Raw("NDATA", 1, b"no payload", "").encode()
            await bus.append([New(topics.RAW, "north/nobody", raw)])
        dead = "pbal_hq_dead_letters_total"
        await running.until(dead, lambda value: value == before[dead] + 1)
        after = await running.samples()
        rebirths = "pbal_hq_rebirths_asked_total"
        assert after[rebirths] == before[rebirths] + 1
        # Not the process that says what is the same for all.
        assert "pbal_hq_newest_window_age_seconds" not in after
        assert 'pbal_hq_sites{state="online"}' not in after
        assert after["pbal_hq_database_up"] == 1


async def test_requests_are_timed(hq):
    from pbal_hq.database import pool
    from pbal_hq.enrol import Issuing
    from pbal_hq.enrol import serve as serve_enrolment
    from pbal_hq.metrics.counts import REGISTRY

    labels = {"service": "enrol", "method": "GET", "status": "404"}

    def seen():
        return REGISTRY.get_sample_value("pbal_hq_http_request_seconds_count", labels) or 0

    before = seen()
    async with pool(hq.config.database) as database:
        issuing = Issuing(database, hq.pki.authority(), hq.config)
        async with serve_enrolment(issuing, hq.pki, hq.config.enrol) as port:

            def get():
                url = f"https://localhost:{port}/nothing"
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    urllib.request.urlopen(url, timeout=30, context=hq.context())

            await asyncio.to_thread(get)
    assert seen() == before + 1


async def test_the_portals_answers_are_timed_whatever_they_are(database_url):
    from rigs import people

    from pbal_hq.metrics.counts import REGISTRY

    def seen(method, status):
        labels = {"service": "portal", "method": method, "status": status}
        return REGISTRY.get_sample_value("pbal_hq_http_request_seconds_count", labels) or 0

    wanted = [("GET", "200"), ("GET", "404"), ("other", "405")]
    before = [seen(*each) for each in wanted]
    async with people.portal(database_url) as client:
        assert (await client.get("/login")).status_code == 200
        assert (await client.get("/nothing")).status_code == 404
        # A method of the sender's own makes no series of its own.
        assert (await client.request("BREW", "/login")).status_code == 405
    assert [seen(*each) for each in wanted] == [count + 1 for count in before]


async def test_without_a_database_no_old_figures_stand(hq):
    """Roles that fail are told, and what is not known is not said."""
    config = with_metrics(hq)
    async with Running(config, "sums", "house") as running:
        await running.until("pbal_hq_database_up", lambda value: value == 1)
        name = hq.url.rpartition("dbname=")[2].split()[0].strip("'")
        other = hq.url.replace(name, "postgres")
        execute(other, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            execute(other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                           "WHERE datname = %s", name)  # fmt: skip
            await running.until("pbal_hq_database_up", lambda value: value == 0)
            await running.until('pbal_hq_role_failing{role="sums"}', lambda value: value == 1)
            s = await running.samples()
            assert 'pbal_hq_sites{state="online"}' not in s
            assert s["pbal_hq_data_free_bytes"] > 0
        finally:
            execute(other, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await running.until("pbal_hq_database_up", lambda value: value == 1)


async def test_a_taken_port_says_what_to_do(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = Config(data=tmp_path, metrics=MetricsConfig(port=port))

        async def text():
            return b""

        with pytest.raises(ConfigError, match="metrics\\.port sets another port"):
            async with serve(config, Where("all", port), text):
                pass
    assert not (tmp_path / "metrics").exists()


def test_processes_of_one_computer_do_not_meet():
    every = list(roles.ROLES)
    config = MetricsConfig()
    of = (every, ["bridge"], ["store", "decode"], ["portal", "enrol"])
    places = [where(names, every, every, config) for names in of]
    assert [each.process for each in places] == ["all", "bridge", "decode-store", "enrol-portal"]
    assert len({each.port for each in places}) == 4
    assert where(["bridge"], every, every, MetricsConfig(port=0)).port == 0
    # Who looks for a role from another machine does not know what is configured here.
    some = [name for name in every if name not in ("chirpstack", "lake")]
    assert where(["portal"], some, every, config) == where(["portal"], every, every, config)
    assert where(some, some, every, config) == places[0]


def test_machines_elsewhere_are_asked_at_the_ports_that_roles_have():
    vars_ = ROOT / "hq" / "deploy" / "roles" / "monitoring" / "vars" / "main.yml"
    assert yaml.safe_load(vars_.read_text())["monitoring_roles"] == list(roles.ROLES)


async def test_a_bus_knows_how_far_each_group_is_behind(tmp_path):
    groups = {topics.RAW: ("decode",), topics.SUMMARY: ("store", "lake")}
    async with FileBus(tmp_path / "bus.db") as bus:
        assert set((await bus.lag(groups)).values()) == {0}
        await bus.append([New(topics.SUMMARY, "a", b"{}")] * 5)
        await bus.append([], [Done("store", topics.SUMMARY, 2)])
        assert await bus.lag(groups) == {
            ("decode", topics.RAW): 0, ("store", topics.SUMMARY): 2, ("lake", topics.SUMMARY): 5,
        }  # fmt: skip


def test_certificates_that_are_not_here_are_left_out(tmp_path):
    now = datetime.now(UTC)
    pki = Pki(tmp_path)
    assert certificates_left(pki, now) == {}
    authority = pki.make("x", now)
    pki.write_crl(authority, (), now - timedelta(days=31))
    left = certificates_left(pki, now)
    assert left["authority"] > 0 > left["revocation_list"]
    assert set(left) == {"authority", "revocation_list"}


def test_the_rules_do_what_they_say():
    said = promtool("test", "rules", "alerts_test.yml")
    assert "SUCCESS" in said
    promtool("check", "rules", "alerts.yml")
    alerts = re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    tested = set(re.findall(r"alertname: (\w+)", (FOLDER / "alerts_test.yml").read_text()))
    assert set(alerts) == tested, "each alert has a test"
    assert len(alerts) == len(set(alerts))


def test_every_alert_says_what_to_do():
    for alert in (FOLDER / "alerts.yml").read_text().split("- alert: ")[1:]:
        for key in ("expr:", "severity:", "summary:", "description:"):
            assert alert.count(key) == 1, alert


def test_prometheus_takes_its_configuration(tmp_path):
    text = (FOLDER / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/pbal/*", "alerts"))
    (tmp_path / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text())
    promtool("check", "config", "prometheus.yml", cwd=tmp_path)


def test_a_controller_has_an_address_with_a_port():
    with pytest.raises(ValueError, match="should match"):
        MetricsConfig(controllers=[{"site": 7, "address": "10.0.0.1"}])
