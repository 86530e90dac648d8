"""A process of HQ is killed: Prometheus sees it, Alertmanager tells it, and that it is back.

Real processes, the shipped configuration and rules (in seconds instead of minutes), and a webhook.
"""

import sys
import time

import pytest
from rigs.hq import Headquarters, database_url, postgres  # noqa: F401
from rigs.needs import PATIENCE_S
from rigs.prometheus import Monitoring

from pbal_sim.childprocess import die_with_parent

# A process of HQ imports for a minute where others use the processors, too.
WITHIN_S = 2 * PATIENCE_S


class Process:
    """`pbal-hq run ROLE...`."""

    def __init__(self, folder, config, *names):
        import subprocess

        with (folder / f"{names[0]}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from pbal_hq.cli import main; main()", "run", *names,
                 "-c", str(config)],
                stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip

    def kill(self):
        self._process.kill()
        self._process.wait(30)


@pytest.mark.timeout(900)
@pytest.mark.long
def test_a_killed_role_is_told_and_told_when_it_is_back(tmp_path, database_url):  # noqa: F811
    hq = Headquarters(tmp_path, database_url)
    config = tmp_path / "hq.toml"
    config.write_text(
        f'data = "{hq.config.data}"\n[database]\nurl = "{hq.url}"\n[metrics]\nport = 0\n'
    )
    processes = [Process(tmp_path, config, "store"), Process(tmp_path, config, "sums", "house")]
    monitoring = None
    try:
        monitoring = Monitoring(tmp_path / "monitoring", hq.config.data / "metrics", hq.url)
        monitoring.wait_until('up{job="pbal-hq", instance="store"} == 1')
        monitoring.wait_until('up{job="pbal-hq", instance="sums-house"} == 1')
        monitoring.wait_until('pbal_hq_role_failing{role="store"} == 0')
        # One process alone says what is the same for all.
        assert len(monitoring.wait_until('pbal_hq_sites{state="online"}')) == 1
        # The exporters of the machine and of PostgreSQL, as the shipped configuration asks them.
        monitoring.wait_until('up{job="node"} == 1 and on () node_filesystem_avail_bytes > 0')
        monitoring.wait_until('pg_up{job="postgres"} == 1')
        monitoring.wait_until("pg_stat_database_numbackends > 0")

        killed = time.monotonic()
        processes[0].kill()
        monitoring.webhook.forget()
        _, labels, words = monitoring.webhook.wait_for(
            "firing", WITHIN_S, alertname="PbalHqDown", instance="store"
        )
        print(f"told {time.monotonic() - killed:.1f} s after the kill: {words['summary']}")
        assert monitoring.query('up{job="pbal-hq", instance="store"} == 0')
        assert labels["severity"] == "critical"
        assert words["summary"] == "HQ's process store does not run."

        processes[0] = Process(tmp_path, config, "store")
        monitoring.webhook.wait_for("resolved", WITHIN_S, alertname="PbalHqDown", instance="store")
    finally:
        if monitoring is not None:
            monitoring.stop()
        for process in processes:
            process.kill()
