"""HQ put on a machine by Ansible: a Debian of its own, booted, and everything runs in the end."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import deb_hq
import pytest
from rigs import needs
from rigs.booted import Booted, booted
from rigs.debian import CACHE, alone, ran, with_packages
from rigs.machines import DEPLOY, Ansible

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

INVENTORIES = sorted((DEPLOY / "inventories").glob("*.yml"))
# What the roles install: there is no network in the machine.
PACKAGES = ("sudo", "postgresql", "mosquitto", "nginx-light", "prometheus",
            "prometheus-alertmanager", "prometheus-node-exporter",
            "prometheus-postgres-exporter", "procps", "python3-apt", "wireguard-tools",
            "nftables", "openssl", "curl")  # fmt: skip
RUNNING = ("postgresql@15-main", "pbal-hq-broker", "pbal-hq", "nginx", "prometheus",
           "prometheus-alertmanager", "prometheus-node-exporter",
           "prometheus-postgres-exporter")  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HQ as a Debian package."""
    for tool in ("dpkg-deb", "gcc"):
        needs.require_tool(tool)
    began = time.monotonic()
    with alone():
        made = deb_hq.build(tmp_path_factory.mktemp("hq"), "0.1.0", CACHE)
    print(f"the package, {made.stat().st_size >> 20} MB: {time.monotonic() - began:.0f} s")
    return made


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Booted]:
    """A booted Debian with the packages that HQ's machines have."""
    needs.require_tool("ansible-playbook")
    root = tmp_path / "root"
    ran("cp", "-a", "--reflink=auto", with_packages("hq", *PACKAGES), root)
    try:
        with booted(root) as up:
            yield up
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_one_machine(machine: Booted, package: Path, tmp_path: Path) -> None:
    """Looked at, put in place, put in place again: then nothing changes, and HQ answers."""
    ansible = Ansible(tmp_path / "ansible", DEPLOY / "inventories" / "one-machine.yml")
    ansible.reach("192.0.2.10", machine)
    # The kernel of the tests has no WireGuard: what the interface is made from is looked at.
    given = {"hq_package": str(package), "hq_network_endpoint": "hq.example.org",
             "tunnel_up": False}  # fmt: skip
    took = [time.monotonic()]
    looked = ansible.play("--check", "--diff", **given)["hq1"]
    took.append(time.monotonic())
    assert looked.changed > 0
    assert not (machine.root / "etc/pbal-hq").exists()

    ansible.play(**given)
    took.append(time.monotonic())
    for unit in RUNNING:
        machine.until(unit, lambda have: have["ActiveState"] == "active", needs.PATIENCE_S)

    again = ansible.play(**given)["hq1"]
    took.append(time.monotonic())
    assert again.changed == 0, again.said[-6000:]
    assert again.ok > 40
    print("check, apply, again:", *(f"{b - a:.0f} s" for a, b in itertools.pairwise(took)))

    # The portal behind nginx, over TLS, with the page for those who have not logged in.
    end = time.monotonic() + needs.PATIENCE_S
    ask = ("curl", "-ksSL", "--resolve", "hq.example.org:443:127.0.0.1", "https://hq.example.org/")
    while "password" not in (said := machine.run(*ask, code=None)):
        assert time.monotonic() < end, said + machine.log("pbal-hq")[-3000:]
        time.sleep(0.5)
    # Enrolment and broker show certificates of the one authority, for the name that sites know.
    for port in (8883, 8884):
        told = machine.run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile",
                           "/var/lib/pbal-hq/pki/ca.crt", "-verify_hostname", "hq.example.org",
                           "-brief", code=None)  # fmt: skip
        assert "Verification: OK" in told, told
    # Prometheus found HQ, the computer and the database by itself.
    query = ("curl", "-sS", "http://127.0.0.1:9090/api/v1/query", "--data-urlencode", "query=up")
    while True:
        found = json.loads(machine.run(*query))["data"]["result"]
        jobs = {each["metric"]["job"]: each["value"][1] for each in found}
        if jobs.get("pbal-hq") == jobs.get("node") == jobs.get("postgres") == "1":
            break
        assert time.monotonic() < end, jobs
        time.sleep(1)
    machine.run("promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    # Rules and interface are ready, and who has no key reads neither.
    machine.run("nft", "-c", "-f", "/var/lib/pbal-hq/network/hq.nft")
    assert "ListenPort = 51820" in machine.run("cat", "/etc/wireguard/pbal-hq.conf")
    assert machine.run("stat", "-c", "%U %a", "/var/lib/pbal-hq").strip() == "pbal-hq 700"
    # No unit of this machine failed.
    failed = machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert "pbal" not in failed
    assert not machine.shown("pbal-hq", "NRestarts")["NRestarts"].strip("0")


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.stem)
def test_an_inventory_is_one(inventory: Path) -> None:
    """Every host of the plays is there, and the play can be read with it."""
    program = needs.require_tool("ansible-playbook")
    said = ran(program, "-i", inventory, "site.yml", "--list-hosts", cwd=DEPLOY)
    assert "192.0.2" in ran(
        needs.require_tool("ansible-inventory"), "-i", inventory, "--list", cwd=DEPLOY
    )
    assert said.count("play #") == 5
    ran(program, "-i", inventory, "site.yml", "--syntax-check", cwd=DEPLOY)


def test_style(tmp_path: Path) -> None:
    """ansible-lint, by its strictest profile."""
    said = subprocess.run(
        [needs.require_tool("ansible-lint"), "--offline", "-q", "--nocolor", "--profile",
         "production"],
        capture_output=True, text=True, check=False, timeout=600, cwd=DEPLOY,
        env={"PATH": f"{needs.VENV_BIN}:/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]
