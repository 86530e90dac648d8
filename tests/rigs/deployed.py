"""What a machine on which HQ was put says of itself, asked from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TypeVar

from pbal_hq import roles
from rigs import needs
from rigs.booted import Booted

T = TypeVar("T")


def until(ask: Callable[[], T], good: Callable[[T], object]) -> T:
    """Ask until the answer is good."""
    end = time.monotonic() + needs.PATIENCE_S
    while not good(found := ask()):
        assert time.monotonic() < end, found
        time.sleep(1)
    return found


def running(machine: Booted) -> set[str]:
    """Those of HQ's services and its companions' that run."""
    said = machine.run("systemctl", "list-units", "--state=active", "--type=service", "--plain",
                       "--no-legend")  # fmt: skip
    units = {line.split()[0].removesuffix(".service") for line in said.splitlines()}
    ours = ("pbal", "postgresql@", "nginx", "prometheus", "mosquitto")
    return {unit for unit in units if unit.startswith(ours)}


def hq(machine: Booted, *words: str) -> str:
    """`pbal-hq` on it, as its user."""
    return machine.run("runuser", "-u", "pbal-hq", "--", "pbal-hq", *words, "-c",
                       "/etc/pbal-hq/hq.toml")  # fmt: skip


def scraped(machine: Booted, job: str = "pbal-hq") -> dict[str, str]:
    """What Prometheus asks of HQ or of exporters, by instance, and whether it is up."""
    said = machine.run("curl", "-sS", "http://127.0.0.1:9090/api/v1/query", "--data-urlencode",
                       f'query=up{{job="{job}"}}')  # fmt: skip
    found = json.loads(said)["data"]["result"]
    return {each["metric"]["instance"]: each["value"][1] for each in found}


def healthy(machine: Booted, address: str, role: str) -> str:
    """What a role's process says that is not well, asked from this machine; "" where all is."""
    port = 9632 + list(roles.ROLES).index(role)
    said = machine.run("curl", "-sS", "-w", "%{http_code}", f"http://{address}:{port}/healthz",
                       code=None)  # fmt: skip
    return "" if said.endswith("200") else said


def counted(machine: Booted, metric: str) -> dict[str, float]:
    """A figure of HQ's processes, as this machine's Prometheus has it, by instance."""
    said = machine.run("curl", "-sS", "http://127.0.0.1:9090/api/v1/query", "--data-urlencode",
                       f"query={metric}")  # fmt: skip
    found = json.loads(said)["data"]["result"]
    return {each["metric"]["instance"]: float(each["value"][1]) for each in found}


def clients(machine: Booted) -> set[tuple[str, ...]]:
    """Who is connected to HQ's database: address, whether over TLS."""
    said = machine.run(
        "runuser", "-u", "postgres", "--", "psql", "-qtA", "-c",
        "SELECT DISTINCT host(client_addr), ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)"
        " WHERE usename = 'pbal-hq'",
    )  # fmt: skip
    return {tuple(line.split("|")) for line in said.split()}


def rows(machine: Booted) -> int:
    """Summaries in its database."""
    return int(machine.run("runuser", "-u", "postgres", "--", "psql", "-qtA", "pbal_hq", "-c",
                           "SELECT count(*) FROM summary"))  # fmt: skip


def front_page(machine: Booted) -> str:
    """What who has not logged in sees at the door of this machine."""
    return machine.run("curl", "-ksSL", "--resolve", "portal.example.org:443:127.0.0.1",
                       "https://portal.example.org/")  # fmt: skip


def certified(machine: Booted, address: str, name: str) -> None:
    """Broker and enrolment show this machine certificates of its authority for the name."""
    for port in (8883, 8884):
        told = machine.run(
            "openssl", "s_client", "-connect", f"{address}:{port}", "-CAfile",
            "/var/lib/pbal-hq/pki/ca.crt", "-verify_hostname", name, "-brief", code=None,
        )  # fmt: skip
        assert "Verification: OK" in told, told
