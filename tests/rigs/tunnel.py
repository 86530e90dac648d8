"""Ends of a tunnel between HQ and a Pi, in network namespaces, and a way from there to here."""

import contextlib
import os
import sys
from urllib.parse import urlsplit

from pbal_engines import Service
from rigs.needs import require_tool
from rigs.netns import require_namespaces

HQ_ADDRESS = "192.0.2.1"  # outside of the tunnel

# Takes connections at one place and passes their bytes on to another: "unix:PATH" or "tcp:PORT". A
# socket with a path is seen from every network namespace.
_PASS_ON = """
import os, socket, sys, threading
def spec(text):
    kind, _, at = text.partition(":")
    return (socket.AF_UNIX, at) if kind == "unix" else (socket.AF_INET, ("127.0.0.1", int(at)))
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for each in (a, b):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
family, at = spec(sys.argv[1])
listening = socket.socket(family)
if family == socket.AF_INET:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(at)
listening.listen(50)
while True:
    taken, _ = listening.accept()
    to, where = spec(sys.argv[2])
    other = socket.socket(to)
    try:
        other.connect(where)
    except OSError:
        taken.close()
        continue
    for pair in ((taken, other), (other, taken)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""


def require_tunnels():
    """Goes on only where namespaces and WireGuard are to be had."""
    require_namespaces()
    for tool, package in (("wg-quick", "wireguard-tools"), ("nft", "nftables"),
                          ("wireguard-go", "wireguard-go")):  # fmt: skip
        require_tool(tool, package)


class Pi:
    """A site's computer: makes its key, takes the files that HQ wrote."""

    def __init__(self, network, tmp_path, number, host=None):
        self.number, self.name = number, f"p{os.getpid() % 100_000}x{number}"
        self.etc = tmp_path / f"pi{number}"
        self.etc.mkdir()
        address = f"192.0.2.{host or number}"
        self.computer = network.computer(f"pi{host or number}", address, self.etc)
        make = "umask 077; wg genkey > /etc/wireguard/pbal.key; wg pubkey < /etc/wireguard/pbal.key"
        self.public = self.computer.run("sh", "-c", make).stdout.strip()
        assert (self.etc / "pbal.key").stat().st_mode & 0o077 == 0

    def up(self):
        self.computer.run("wg-quick", "up", self.name)

    def down(self):
        self.computer.run("wg-quick", "down", self.name, check=False)


def reachable(computer, port, folder):
    """Command lines of two programs: by both, 127.0.0.1:PORT on the computer is this one's."""
    meeting = f"unix:{folder / 'way'}"
    here = [sys.executable, "-c", _PASS_ON, meeting, f"tcp:{port}"]
    there = computer.words(sys.executable, "-c", _PASS_ON, f"tcp:{port}", meeting)
    return here, there


class Road:
    """The two computers: HQ's, from which `logs.url` here can be reached, and a Pi's.

    Its commands have a loop of their own: made in a thread, where a loop runs.
    """

    def __init__(self, network, site, config, file, run, tmp_path):
        self.hq = network.computer("hq", HQ_ADDRESS)
        self.pi = Pi(network, tmp_path, site, host=7)
        run("network", "init", "-c", file)
        run("network", "add-site", site, "--key", self.pi.public, "--out", self.pi.etc,
            "--interface", self.pi.name, "-c", file)  # fmt: skip
        own = config.data / "network" / f"{config.network.interface}.conf"
        with contextlib.ExitStack() as made:
            made.callback(self.hq.run, "wg-quick", "down", own, check=False)
            self.hq.run("wg-quick", "up", own)
            made.callback(self.pi.down)
            self.pi.up()
            ways = reachable(self.hq, urlsplit(config.logs.url).port, tmp_path)
            for n, words in enumerate(ways):
                made.enter_context(Service(f"way {n}", words, tmp_path / f"way{n}"))
            self.close = made.pop_all().close
