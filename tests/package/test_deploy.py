"""HQ put on a machine by Ansible: a Debian of its own, booted, and everything runs in the end."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import deb_hq
import pytest
from rigs import needs, regionkafka
from rigs.booted import Booted, booted
from rigs.debian import CACHE, alone, ran, with_deb, with_packages
from rigs.deployed import (
    certified,
    clients,
    counted,
    front_page,
    healthy,
    hq,
    rows,
    running,
    scraped,
    until,
)
from rigs.machines import DEPLOY, Ansible, Machines, machines
from rigs.netns import require_namespaces

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

NODE = "prometheus-node-exporter"
PROMETHEUS = ("prometheus", "prometheus-alertmanager", NODE)
INVENTORIES = sorted((DEPLOY / "inventories").glob("*.yml"))
# What the roles install: there is no network in the machine.
PACKAGES = ("sudo", "postgresql", "mosquitto", "nginx-light", "prometheus",
            "prometheus-alertmanager", "prometheus-node-exporter",
            "prometheus-postgres-exporter", "procps", "python3-apt", "wireguard-tools",
            "nftables", "openssl", "curl")  # fmt: skip
INSTALLED = ("postgresql", "mosquitto", "nginx", "prometheus", "prometheus-alertmanager",
             "prometheus-node-exporter", "prometheus-postgres-exporter")  # fmt: skip
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
    root.mkdir()
    with booted(root, [with_packages("hq", *PACKAGES)]) as up:
        yield up


@pytest.fixture(scope="module")
def layers(package: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A Debian with all that any machine of HQ has installed, and nothing of it running."""
    needs.require_tool("ansible-playbook")
    require_namespaces()
    base = with_packages("hq", *PACKAGES)
    return with_deb(tmp_path_factory.mktemp("layer"), base, package, *INSTALLED)


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
    machine.run("test", "!", "-e", "/etc/pbal-hq")

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


def in_place(up: Machines, **given: object) -> None:
    """Ansible puts all of it in place, many machines at once; then once more changes nothing."""
    began = time.monotonic()
    up.ansible.play(hq_at_once=[1, "100%"], **given)
    between = time.monotonic()
    again = up.ansible.play(hq_at_once=[1, "100%"], **given)
    print(f"apply, again: {between - began:.0f} s, {time.monotonic() - between:.0f} s")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"processor: machines {sum(each.cpu_s for each in up.at.values()):.0f} s, all that was"
          f" started beside them {used.ru_utime + used.ru_stime:.0f} s")  # fmt: skip
    assert set(again) == set(up.at)
    for name, recap in again.items():
        assert recap.changed == 0, f"{name}: {recap.said[-6000:]}"
    failed = up.all("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert not any("pbal" in said for said in failed.values()), failed


def reports(
    up: Machines, folder: Path, machine: str, name: str, sites: Sequence[int] = (7,), hub: str = ""
) -> None:
    """Sites on a computer of their own that knows HQ by this name enrol, and report a while.

    hub : another address of the machine, which enrolment tells.
    """
    front = up.at[machine]
    rows = "".join(f"TR-{n},KL,ERN,ALU,F12,100\\n" for n in sites)
    front.run("sh", "-c", f"printf 'code,state,district,division,feeder,rated_kva\\n{rows}'"
                          " >/run/list.csv")  # fmt: skip
    hq(front, "transformer", "import", "/run/list.csv", "--apply")
    rows = "".join(f"{n},TR-{n}\\n" for n in sites)
    front.run("sh", "-c", f"printf 'site,transformer\\n{rows}' >/run/sites.csv")
    tokens = "/var/lib/pbal-hq/tokens.csv"
    hq(front, "site", "import", "/run/sites.csv", "--tokens", tokens)
    (folder / "tokens.csv").write_text(front.run("cat", tokens))
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{up.addresses[machine]} {name}\n")
    street = up.network.computer("sites", "192.0.2.99")
    if hub:
        street.run("ip", "route", "add", hub, "via", up.addresses[machine])
    street.run(
        "unshare", "--mount", "--propagation", "private", "sh", "-c",
        'mount --bind "$0" /etc/hosts && exec "$@"', folder / "hosts",
        needs.require_tool("pbal"), "sim", "fleet", folder / "tokens.csv", "--hq",
        f"https://{name}:8884", "--rate", str(1 + len(sites) // 4), "--seconds", "20",
        within_s=4 * needs.PATIENCE_S,
    )  # fmt: skip


def test_three_machines(layers: list[Path], tmp_path: Path) -> None:
    """The machines of the inventory find each other, and a site's figures come through all."""
    inventory = DEPLOY / "inventories" / "three-machines.yml"
    with machines(tmp_path, layers, inventory) as up:
        package = next((layers[0] / "var/cache").glob("pbal-hq_*.deb"))
        in_place(up, hq_package=str(package), vault_hq_database_password="a:b'c\\d")
        database, ingest, web = up.at["db1"], up.at["in1"], up.at["web1"]
        roles = ("bridge", "decode", "store", "sums", "orders", "enrol", "house", "notify")
        # Each runs what the inventory gives it, and nothing of the others'.
        assert running(database) == {"postgresql@15-main", "prometheus-postgres-exporter", NODE}
        assert running(ingest) == {"pbal-hq-broker", NODE, *(f"pbal-hq@{role}" for role in roles)}
        assert running(web) == {"pbal-hq@portal", "nginx", *PROMETHEUS}

        # The database: of the other two alone, over TLS; who is not in its list does not come in.
        both = {(up.addresses[name], "t") for name in ("in1", "web1")}
        until(lambda: clients(database), lambda found: found == both)
        own = up.addresses["db1"]
        told = database.run("psql", f"host={own} user=pbal-hq dbname=pbal_hq sslmode=require",
                            "-c", "SELECT 1", code=2)  # fmt: skip
        assert "no pg_hba.conf entry" in told

        # One authority, whose key stays where it was made; one secret of portal and orders.
        for file in ("pki/ca.crt", "pki/pbal-hq.crt", "pki/pbal-hq.key"):
            assert up.same(f"/var/lib/pbal-hq/{file}") == {"in1", "web1"}
        for file in ("portal.secret", "command.key"):
            assert up.same(f"/var/lib/pbal-hq/{file}") == {"in1", "web1"}
        assert up.same("/var/lib/pbal-hq/pki/ca.key") == {"in1"}
        certified(web, up.addresses["in1"], "hq.example.org")

        # Prometheus on the third machine asks every process of the second, and those of its own;
        # and what watches the disks and the database of the others.
        wanted = {*(f"in1 {role}" for role in roles), "portal"}
        found = until(lambda: scraped(web), lambda found: set(found.values()) == {"1"})
        assert set(found) == wanted
        nodes = dict.fromkeys(("127.0.0.1:9100", "db1", "in1"), "1")
        until(lambda: scraped(web, "node"), lambda found: found == nodes)
        # That of the third machine is asked in vain: it has no database.
        servers = {"127.0.0.1:9187": "0", "db1": "1"}
        until(lambda: scraped(web, "postgres"), lambda found: found == servers)

        # A site enrols and reports at the second machine; the first has it, the third shows it.
        reports(up, tmp_path, "in1", "hq.example.org")
        until(lambda: rows(database), lambda count: count > 0)
        sites = json.loads(hq(web, "site", "list", "--json"))
        assert [each["site"] for each in sites] == [7]
        assert "password" in front_page(web)


# What the region of the inventory has besides: a machine with PostgreSQL, in place of the three of
# a cluster, of which the first address is its.
DATABASE = """\
all:
  vars:
    postgresql_clients: [192.0.2.0/24]
  children:
    database:
      hosts:
        db1:
          ansible_host: 192.0.2.21
"""
FRONT = ("bridge", "orders", "enrol", "house", "notify", "sums")
WORKERS = ("worker1", "worker2")


def test_a_region(layers: list[Path], tmp_path: Path) -> None:
    """Six machines, put in place while their Kafka is away; then sites' figures come through all.

    Kafka is real, on a computer of its own, and comes when all is in place: until then who needs it
    waits, and nobody else does.
    """
    regionkafka.require()
    (tmp_path / "database.yml").write_text(DATABASE)
    inventory = DEPLOY / "inventories" / "region.yml"
    with machines(tmp_path, layers, inventory, tmp_path / "database.yml") as up:
        package = next((layers[0] / "var/cache").glob("pbal-hq_*.deb"))
        in_place(up, hq_package=str(package), tunnel_up=False,
                 vault_hq_database_password="a:b'c\\d",
                 vault_hq_kafka_password=regionkafka.PASSWORD)  # fmt: skip
        database, front, web = up.at["db1"], up.at["front1"], up.at["web1"]
        wanted = {
            "db1": {"postgresql@15-main", "prometheus-postgres-exporter", NODE},
            "front1": {"pbal-hq-broker", NODE, *(f"pbal-hq@{role}" for role in FRONT)},
            **{name: {"pbal-hq@decode", "pbal-hq@store", NODE} for name in WORKERS},
            "web1": {"pbal-hq@portal", "nginx", *PROMETHEUS},
            "web2": {"pbal-hq@portal", "nginx", NODE},
        }
        assert {name: running(machine) for name, machine in up.at.items()} == wanted

        # Kafka is away: the portals are there, who needs it waits for it.
        for name in ("web1", "web2"):
            until(lambda name=name: front_page(up.at[name]), lambda page: "password" in page)
            until(lambda name=name: healthy(web, up.addresses[name], "portal"), lambda bad: not bad)
        for name in WORKERS:
            said = healthy(web, up.addresses[name], "store")
            assert "store: it waits for the bus: " in said, said
        assert not healthy(web, up.addresses["front1"], "sums")

        # One authority, whose key stays where it was made; one secret of portals and orders.
        roles = {"front1", *WORKERS, "web1", "web2"}
        for file in ("pki/ca.crt", "pki/pbal-hq.crt", "pki/pbal-hq.key"):
            assert up.same(f"/var/lib/pbal-hq/{file}") == roles
        for file in ("portal.secret", "command.key"):
            assert up.same(f"/var/lib/pbal-hq/{file}") == {"front1", "web1", "web2"}
        assert up.same("/var/lib/pbal-hq/pki/ca.key") == {"front1"}
        certified(web, up.addresses["front1"], "region-north.hq.example.org")

        with regionkafka.kafka(up, front, tmp_path):
            front.run("sh", "-c", f"umask 77; echo {regionkafka.ADMIN} >/var/lib/pbal-hq/admin;"
                                  " chown pbal-hq /var/lib/pbal-hq/admin")  # fmt: skip
            front.run("env", "PBAL_HQ_BUS__KAFKA__REPLICAS=1", "runuser", "-u", "pbal-hq", "--",
                      "pbal-hq", "bus", "set-up", "--password-file", "/var/lib/pbal-hq/admin",
                      "-c", "/etc/pbal-hq/hq.toml")  # fmt: skip
            for name in WORKERS:
                for role in ("decode", "store"):
                    at = up.addresses[name]
                    until(lambda at=at, role=role: healthy(web, at, role), lambda bad: not bad)
            # Where the tunnel would end, which no kernel of the tests has.
            front.run("ip", "address", "add", "10.77.0.1/32", "dev", "lo")
            sites = range(1, 13)
            reports(up, tmp_path, "front1", "region-north.hq.example.org", sites, "10.77.0.1")
            until(lambda: rows(database), lambda count: count >= len(sites))

            # Prometheus asks all of them. Both workers had a share of the sites, of whom the
            # portals know.
            asked = {"portal", "web2 portal", *(f"front1 {role}" for role in FRONT)}
            asked |= {f"{name} {role}" for name in WORKERS for role in ("decode", "store")}
            found = until(lambda: scraped(web), lambda found: set(found.values()) == {"1"})
            assert set(found) == asked
            nodes = dict.fromkeys(("127.0.0.1:9100", *(set(up.at) - {"web1"})), "1")
            until(lambda: scraped(web, "node"), lambda found: found == nodes)
            stored = 'pbal_hq_rows_written_total{table="summary"}'
            until(lambda: counted(web, stored),
                  lambda found: all(found.get(f"{name} store") for name in WORKERS))  # fmt: skip
            others = {(up.addresses[name], "t") for name in roles}
            until(lambda: clients(database), lambda found: found == others)
            for name in ("web1", "web2"):
                known = json.loads(hq(up.at[name], "site", "list", "--json"))
                assert [each["site"] for each in known] == list(sites)
        # Nobody ended because something was not there yet.
        for name, machine in up.at.items():
            for unit in wanted[name]:
                if unit.startswith("pbal-hq@"):
                    assert machine.shown(unit, "NRestarts") == {"NRestarts": "0"}, (name, unit)


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.stem)
def test_an_inventory_is_one(inventory: Path) -> None:
    """Every host of the plays is there, and the play can be read with it."""
    program = needs.require_tool("ansible-playbook")
    said = ran(program, "-i", inventory, "site.yml", "--list-hosts", cwd=DEPLOY)
    assert "192.0.2" in ran(
        needs.require_tool("ansible-inventory"), "-i", inventory, "--list", cwd=DEPLOY
    )
    assert said.count("play #") == 6
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
