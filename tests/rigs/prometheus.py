"""Real Prometheus and Alertmanager on this computer, and somebody who hears of alerts."""

import contextlib
import http.server
import json
import os
import queue
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from pbal_sim.childprocess import die_with_parent
from pbal_sim.hq import free_port
from rigs.needs import PATIENCE_S, ROOT, require_tool

FOLDER = ROOT / "hq" / "monitoring"


def promtool(*words, text=None, cwd=FOLDER):
    """Run it; without an error it says nothing that matters."""
    tool = require_tool("promtool", "prometheus")
    done = subprocess.run(
        [tool, *map(str, words)], input=text, text=True, capture_output=True, timeout=100, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Daemon:
    """A server that runs until it is stopped."""

    def __init__(self, folder, program, package, words, ready, **env):
        self._log = folder / f"{program}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [require_tool(program, package), *map(str, words)], stdout=log, stderr=log,
                cwd=folder, preexec_fn=die_with_parent, env={**os.environ, **env},
            )  # fmt: skip
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=2):
                return
            time.sleep(0.1)
        self.stop()
        pytest.fail(f"{program} did not start: {self._log.read_text()[-2000:]}")

    def stop(self):
        self._process.terminate()
        self._process.wait(30)


class Webhook:
    """Hears alerts: (status, labels) of each that comes."""

    def __init__(self):
        heard = self.heard = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    heard.put((alert["status"], alert["labels"], alert["annotations"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def wait_for(self, status, within_s, **labels):
        """The next alert like this; what comes before it is left out."""
        until = time.monotonic() + within_s
        others = []
        while (left := until - time.monotonic()) > 0:
            try:
                got = self.heard.get(timeout=left)
            except queue.Empty:
                break
            if got[0] == status and labels.items() <= got[1].items():
                return got
            others.append(got)
        pytest.fail(f"no {status} alert {labels}; heard {others}")

    def forget(self):
        """What was heard before this counts no more."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.heard.get_nowait()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _replaced(text, *pairs):
    for old, new in pairs:
        assert old in text, f"the shipped file has no {old}"
        text = text.replace(old, new)
    return text


class Monitoring:
    """The shipped configuration, at other places and in seconds instead of minutes.

    `database`: of an exporter of PostgreSQL; then that of the machine runs, too.
    """

    def __init__(self, folder: Path, targets: Path, database: str = "") -> None:
        folder.mkdir()
        self.webhook = Webhook()
        self.port, alerts_port = free_port(), free_port()
        node, postgres = free_port(), free_port()
        rules = re.sub(r"for: \d+m", "for: 1s", (FOLDER / "alerts.yml").read_text())
        (folder / "alerts.yml").write_text(rules)
        (folder / "prometheus.yml").write_text(
            _replaced(
                (FOLDER / "prometheus.yml").read_text(),
                ("_interval: 15s", "_interval: 2s"),
                ("refresh_interval: 1m", "refresh_interval: 1s"),
                ("/etc/prometheus/pbal/*.yml", str(folder / "alerts.yml")),
                ("/etc/prometheus/pbal/targets", str(targets)),
                ("127.0.0.1:9093", f"127.0.0.1:{alerts_port}"),
                ("127.0.0.1:9100", f"127.0.0.1:{node}"),
                ("127.0.0.1:9187", f"127.0.0.1:{postgres}"),
            )
        )
        (folder / "alertmanager.yml").write_text(
            _replaced(
                (FOLDER / "alertmanager.yml").read_text(),
                ("group_wait: 30s", "group_wait: 1s"),
                ("group_interval: 5m", "group_interval: 1s"),
                ("http://127.0.0.1:9099/", self.webhook.url),
            )
        )
        self._daemons: list[Daemon] = []
        try:
            if database:
                self._export(folder, node, postgres, database)
            self._daemons.append(
                Daemon(folder, "prometheus-alertmanager", "prometheus-alertmanager",
                       ["--config.file=alertmanager.yml", "--storage.path=alerts",
                        f"--web.listen-address=127.0.0.1:{alerts_port}",
                        "--cluster.listen-address="],
                       f"http://127.0.0.1:{alerts_port}/-/ready")
            )  # fmt: skip
            self._daemons.append(
                Daemon(folder, "prometheus", "prometheus",
                       ["--config.file=prometheus.yml", "--storage.tsdb.path=series",
                        f"--web.listen-address=127.0.0.1:{self.port}"],
                       f"http://127.0.0.1:{self.port}/-/ready")
            )  # fmt: skip
        except BaseException:
            self.stop()
            raise

    def _export(self, folder: Path, node: int, postgres: int, database: str) -> None:
        for name, port, env in (
            ("prometheus-node-exporter", node, {}),
            ("prometheus-postgres-exporter", postgres,
             {"DATA_SOURCE_NAME": f"{database} sslmode=disable"}),
        ):  # fmt: skip
            self._daemons.append(
                Daemon(folder, name, name, [f"--web.listen-address=127.0.0.1:{port}"],
                       f"http://127.0.0.1:{port}/metrics", **env)
            )  # fmt: skip

    def query(self, expression, **at):
        """The result of a query, now. A query that Prometheus refuses fails the test."""
        words = urllib.parse.urlencode({"query": expression, **at})
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{words}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{expression}: {error.read().decode()}")

    def wait_until(self, expression, within_s=PATIENCE_S):
        """Its result, as soon as there is one."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            if found := self.query(expression):
                return found
            time.sleep(0.2)
        pytest.fail(f"nothing fits {expression}; up: {self.query('up')}")

    def stop(self):
        for daemon in self._daemons:
            daemon.stop()
        self.webhook.stop()
