"""Tunnels from sites to HQ: what is written, and real WireGuard and nftables between namespaces."""

import base64
import json
import os
import sys
import time

import pytest
from rigs.needs import require_tool
from rigs.netns import Network, require_namespaces
from rigs.tunnel import Pi, require_tunnels

from pbal_hq.config import Config, NetworkConfig
from pbal_hq.errors import BadInput
from pbal_hq.network import Peer, check_key, hub_files, own_key, site_files
from pbal_hq.network.peers import first_free

KEYS = [base64.b64encode(bytes([n] * 32)).decode() for n in range(1, 5)]
PBAL_HQ = ("-c", "from pbal_hq.cli import main; main()")
ENDPOINT = "192.0.2.1"


@pytest.fixture
def with_network(config):
    """The configuration of `pbal-hq init` with a tunnel, and three sites."""

    def add(**more):
        table = {"endpoint": ENDPOINT, "interface": f"pbh{os.getpid() % 100_000}", **more}
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        with config.open("a") as file:
            file.write("\n[network]\n" + "\n".join(lines) + "\n")
        return config

    return add


def sites(run, config, *numbers):
    for number in numbers:
        run("transformer", "add", f"TR-{number}", "--in", "KL/ERN/ALU/F12", "-c", config)
        run("site", "add", number, "--transformer", f"TR-{number}", "-c", config)


def test_a_key_is_32_bytes():
    assert check_key(f" {KEYS[0]}\n") == KEYS[0]
    for bad in ("", "x", KEYS[0][:-1], KEYS[0] + "=", base64.b64encode(bytes(31)).decode(),
                base64.b64encode(bytes(32)).decode(), KEYS[0][:-2] + "F="):  # fmt: skip
        with pytest.raises(BadInput, match="key"):
            check_key(bad)


def test_hqs_key_is_that_of_wg(tmp_path):
    import subprocess

    file = tmp_path / "network" / "private.key"
    public = own_key(file)
    assert own_key(file) == public
    assert file.stat().st_mode & 0o077 == 0
    said = subprocess.run([require_tool("wg", "wireguard-tools"), "pubkey"], input=file.read_text(),
                          text=True, capture_output=True, check=True)  # fmt: skip
    assert said.stdout.strip() == public


def test_addresses_are_given_once_and_hqs_is_the_first():
    config = NetworkConfig(prefix="10.9.0.0/29")
    assert config.hub == "10.9.0.1"
    assert first_free(config, []) == "10.9.0.2"
    assert first_free(config, ["10.9.0.2", "10.9.0.4"]) == "10.9.0.3"
    with pytest.raises(BadInput, match="no address left"):
        first_free(config, [f"10.9.0.{n}" for n in range(2, 7)])
    assert first_free(NetworkConfig(prefix="fd70:62a1::/64"), ["fd70:62a1::2"]) == "fd70:62a1::3"


def test_a_prefix_that_cannot_be_used_is_refused():
    for bad in ("10.77.0.1/16", "10.77.0.0/31", "x", "10.77.0.0/33"):
        with pytest.raises(ValueError, match=r"prefix|10\.77|x"):
            NetworkConfig(prefix=bad)
    with pytest.raises(ValueError, match="does not appear"):
        NetworkConfig(direct_from=["everybody"])


@pytest.mark.parametrize("prefix", ["10.77.0.0/16", "fd70:62a1::/64"])
def test_nft_takes_the_rules(tmp_path, prefix):
    require_namespaces()
    require_tool("nft", "nftables")
    config = Config.model_validate(
        {"network": {"endpoint": "h", "prefix": prefix, "site_ports": [8480], "more_ports": [6514],
                     "direct_from": ["198.51.100.0/24", "2001:db8::/48"]}}
    )  # fmt: skip
    peer = Peer(7, str(config.network.network[2]), KEYS[0])
    with Network() as network:
        computer = network.computer("one", "192.0.2.9")
        for files in (hub_files(config, tmp_path, [peer]), site_files(config, peer, KEYS[1], "p")):
            (tmp_path / "rules").write_text(files.rules)
            for _ in range(2):  # again takes the first one's place
                computer.run("nft", "-f", tmp_path / "rules")
        listed = computer.run("nft", "list", "ruleset").stdout
    assert listed.count("table inet pbal_hq") == listed.count("table inet pbal_site") == 1
    assert listed.count("chain from_sites") == 1


def test_the_command_line(run, with_network, tmp_path):
    from pbal_hq.config import load

    bare = tmp_path / "etc" / "hq.toml"
    assert "network.endpoint is not set" in run("network", "show", "-c", bare, code=2).stderr
    config = with_network()
    c = ("-c", config)
    sites(run, config, 7, 8)
    add = ("network", "add-site")
    early = run(*add, 7, "--key", KEYS[0], "--out", tmp_path / "7", *c, code=2)
    assert "pbal-hq network init makes it" in early.stderr
    made = json.loads(run("network", "init", "--json", *c).stdout)
    assert made["address"] == "10.77.0.1"
    assert json.loads(run("network", "init", "--json", *c).stdout) == made

    said = run(*add, 7, "--key", KEYS[0], "--out", tmp_path / "7", *c).stdout
    assert "10.77.0.2" in said
    assert "The interface is down" in said
    conf = (tmp_path / "7" / "pbal.conf").read_text()
    secret = (load(config).data / "network" / "private.key").read_text().strip()
    assert made["public_key"] in conf
    assert "AllowedIPs = 10.77.0.1/32" in conf
    assert "PrivateKey" not in conf
    assert secret not in conf + (tmp_path / "7" / "pbal.nft").read_text()
    # One key is one Pi's; HQ's is nobody's; a site that is not there has none.
    assert "site 7 has this key" in run(*add, 8, "--key", KEYS[0], "--out", tmp_path, *c,
                                        code=7).stderr  # fmt: skip
    run(*add, 8, "--key", made["public_key"], "--out", tmp_path, *c, code=7)
    run(*add, 9, "--key", KEYS[2], "--out", tmp_path, *c, code=6)
    run(*add, 8, "--key", "nonsense", "--out", tmp_path, *c, code=7)
    # Another key: the same address.
    again = json.loads(run(*add, 7, "--key", KEYS[1], "--out", tmp_path / "7", "--json", *c).stdout)
    assert again == {"site": 7, "address": "10.77.0.2", "key": KEYS[1], "in_effect": False}
    run(*add, 8, "--key", KEYS[0], "--out", tmp_path / "8", *c)
    shown = json.loads(run("network", "show", "--json", *c).stdout)
    assert [site["address"] for site in shown["sites"]] == ["10.77.0.2", "10.77.0.3"]
    whole = (load(config).data / "network" / f"{load(config).network.interface}.conf").read_text()
    assert whole.count("[Peer]") == 2
    assert KEYS[1] in whole
    run("network", "remove-site", 7, *c)
    run("network", "remove-site", 7, *c, code=6)
    assert json.loads(run("network", "show", "--json", *c).stdout)["sites"][0]["site"] == 8
    # Who removes a site removes its tunnel.
    run("site", "remove", 8, "--why", "test", *c, code=5)
    assert json.loads(run("network", "show", "--json", *c).stdout)["sites"] == []


# Says "ok" each 0.2 s as long as what it sends comes back.
_TALK = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
s.settimeout(1)
s.recv(9)
while True:
    s.sendall(b"x")
    try:
        s.recv(9)
        print("ok", time.monotonic(), flush=True)
    except TimeoutError:
        print("silent", time.monotonic(), flush=True)
    time.sleep(0.2)
"""
_TLS = """
import socket, ssl, sys
made = ssl.create_default_context(cafile=sys.argv[3])
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as s:
    with made.wrap_socket(s, server_hostname="hq.example.org") as t:
        print(t.version())
"""


@pytest.mark.timeout(300)
def test_sites_reach_the_broker_through_the_tunnel_and_nothing_else(run, with_network, tmp_path):
    import subprocess

    require_tunnels()
    config = with_network(site_ports=[8480])
    sites(run, config, 7, 8)
    run("network", "init", "-c", config)
    data = tmp_path / "data"
    with Network() as network:
        hq = network.computer("hq", ENDPOINT)
        pis = [Pi(network, tmp_path, number) for number in (7, 8)]
        seven, eight = (pi.computer for pi in pis)

        def pbal_hq(*words):
            return hq.run(sys.executable, *PBAL_HQ, *words, "-c", config).stdout

        interface = f"pbh{os.getpid() % 100_000}"
        # A machine that forwards, so that only the rules keep the sites apart.
        hq.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        hq.start("mosquitto", "-c", data / "broker" / "mosquitto.conf",
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        for port in (8884, 5432):
            hq.serve(port)
        for computer in (seven, eight):
            computer.serve(8480)
            computer.serve(22)
        # Before there are rules all of it is open: what is refused below, the rules refuse.
        assert seven.reach(ENDPOINT, 8884) == seven.reach(ENDPOINT, 5432) == "here"
        assert seven.reach(ENDPOINT, 8883, silent=True) == "open"
        try:
            # One is there before the interface comes up, one is added while it is up.
            pbal_hq("network", "add-site", 7, "--key", pis[0].public, "--out", pis[0].etc,
                    "--interface", pis[0].name)  # fmt: skip
            hq.run("wg-quick", "up", data / "network" / f"{interface}.conf")
            said = pbal_hq("network", "add-site", 8, "--key", pis[1].public, "--out", pis[1].etc,
                           "--interface", pis[1].name)  # fmt: skip
            assert "It is let in now" in said
            for pi in pis:
                pi.up()

            for computer in (seven, eight):
                ca = data / "pki" / "ca.crt"
                assert computer.python(_TLS, "10.77.0.1", 8883, ca) == "TLSv1.3"
                assert computer.reach("10.77.0.1", 8884) == "here"
                assert computer.reach("10.77.0.1", 5432) == "TimeoutError"
                for port in (8883, 8884):
                    assert computer.reach(ENDPOINT, port, silent=True) == "TimeoutError"
            assert hq.reach("127.0.0.1", 8884) == "here"
            # HQ reaches of a site what was said, and no more.
            assert hq.reach("10.77.0.2", 8480) == "here"
            assert hq.reach("10.77.0.2", 22) == "TimeoutError"

            # A site that is in the wrong hands: no rules of its own, routes to everybody.
            key = json.loads(pbal_hq("network", "init", "--json"))["public_key"]
            for pi in pis:
                pi.computer.run("nft", "flush", "ruleset")
                pi.computer.run("wg", "set", pi.name, "peer", key, "allowed-ips", "10.77.0.0/16")
                pi.computer.run("ip", "route", "add", "10.77.0.0/16", "dev", pi.name)
            assert seven.reach("10.77.0.1", 8884) == "here"
            assert seven.reach("10.77.0.1", 5432) == "TimeoutError"
            assert seven.reach("10.77.0.3", 8480) == "TimeoutError"
            # It is the rules that keep them apart, not the network.
            hq.run("nft", "flush", "chain", "inet", "pbal_hq", "forward")
            assert seven.reach("10.77.0.3", 8480) == "here"
            hq.run("nft", "-f", data / "network" / "hq.nft")
            assert seven.reach("10.77.0.3", 8480) == "TimeoutError"

            shown = json.loads(pbal_hq("network", "show", "--json"))
            assert shown["up"]
            assert not shown["unknown_keys"]
            assert all(site["live"]["received_bytes"] > 0 for site in shown["sites"])

            talk = tmp_path / "talk"
            with talk.open("w") as file:
                seven.start(sys.executable, "-c", _TALK, "10.77.0.1", 8884, stdout=file)
            until = time.monotonic() + 60
            while talk.read_text().count("ok") < 3:
                assert time.monotonic() < until, talk.read_text()
                time.sleep(0.1)
            pbal_hq("network", "remove-site", 7)
            gone = time.monotonic()
            time.sleep(4)
            heard = [float(line.split()[1]) for line in talk.read_text().splitlines()
                     if line.startswith("ok")]  # fmt: skip
            print(f"the last answer came {gone - max(heard):.2f} s before the command had ended")
            assert max(heard) < gone
            assert seven.reach("10.77.0.1", 8884) == "TimeoutError"
            assert eight.reach("10.77.0.1", 8884) == "here"
            # The tunnel's end leaves the rules: what was closed stays closed.
            hq.run("wg-quick", "down", data / "network" / f"{interface}.conf")
            assert eight.reach(ENDPOINT, 8883, silent=True) == "TimeoutError"
        finally:
            hq.run("wg-quick", "down", data / "network" / f"{interface}.conf", check=False)
            for pi in pis:
                pi.down()
