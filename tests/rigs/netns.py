"""Computers of a small network on this one: network namespaces on one switch. Needs root."""

import contextlib
import itertools
import os
import subprocess
import sys
import time

from rigs.needs import missing, require_tool

_numbers = itertools.count()

# Serves what it is told on a port: says its name to who connects, then all that comes, back.
_ECHO = """
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"here\\n")
        while data := self.request.recv(4096):
            self.request.sendall(data)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer(("0.0.0.0", int(sys.argv[1])), Echo).serve_forever()
"""
_REACH = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as s:
        s.settimeout(2)
        print(s.recv(9).decode().strip() if len(sys.argv) < 4 else "open")
except OSError as error:
    print(type(error).__name__)
"""


def require_namespaces():
    """Goes on only where network namespaces can be made."""
    require_tool("ip", "iproute2")
    name = f"pbal-try-{os.getpid()}"
    if os.geteuid() or subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        missing("the right to make network namespaces", "Run the tests as root.")
    subprocess.run(["ip", "netns", "del", name], check=True)


def _done(*words, check=True, within_s=60):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=within_s)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
    return done


class Computer:
    """One of them. `etc`: stands at /etc/wireguard in what runs on it."""

    def __init__(self, network, name, address, etc=None):
        self.namespace, self.address, self._etc = f"{network.name}-{name}", address, etc
        self._servers = []
        wire = f"{network.name}{name}"[-13:]
        _done("ip", "netns", "add", self.namespace)
        _done("ip", "link", "add", "eth0", "netns", self.namespace, "type", "veth",
              "peer", "name", wire, "netns", network.switch)  # fmt: skip
        _done("ip", "-n", network.switch, "link", "set", wire, "master", "sw", "up")
        for words in (("addr", "add", f"{address}/24", "dev", "eth0"),
                      ("link", "set", "eth0", "up"), ("link", "set", "lo", "up")):  # fmt: skip
            _done("ip", "-n", self.namespace, *words)

    def words(self, *words):
        """The command line that runs something on it."""
        inside = ["ip", "netns", "exec", self.namespace]
        if self._etc is not None:
            mount = 'mount --bind "$0" /etc/wireguard && exec "$@"'
            inside += ["unshare", "-m", "sh", "-c", mount, self._etc]
        return [*map(str, inside), *map(str, words)]

    def run(self, *words, check=True, within_s=60):
        return _done(*self.words(*words), check=check, within_s=within_s)

    def python(self, code, *words):
        return self.run(sys.executable, "-c", code, *words).stdout.strip()

    def start(self, *words, **how):
        """A server that ends with the network."""
        made = subprocess.Popen(self.words(*words), **how)
        self._servers.append(made)
        return made

    def serve(self, port):
        self.start(sys.executable, "-c", _ECHO, port)
        until = time.monotonic() + 60
        while self.reach("127.0.0.1", port) != "here":
            assert time.monotonic() < until, f"nothing listens on {port}"

    def reach(self, address, port, *, silent=False):
        """What comes of a connection: "here" (or "open" where a server says nothing first)."""
        return self.python(_REACH, address, port, *(["silent"] if silent else []))

    def close(self):
        for server in self._servers:
            server.kill()
            server.wait(30)
        _done("ip", "netns", "del", self.namespace, check=False)


class Network:
    """A switch, and the computers on it. A context."""

    def __init__(self):
        self.name = f"pb{os.getpid() % 100_000}{next(_numbers)}"
        self.switch = f"{self.name}-switch"
        self._computers = []

    def __enter__(self):
        _done("ip", "netns", "add", self.switch)
        _done("ip", "-n", self.switch, "link", "add", "sw", "type", "bridge")
        _done("ip", "-n", self.switch, "link", "set", "sw", "up")
        return self

    def computer(self, name, address, etc=None):
        made = Computer(self, name, address, etc)
        self._computers.append(made)
        return made

    def join(self, process, name, address):
        """Another network namespace, that of a process, is on the switch from now on."""
        wire = f"{self.name}{name}"[-13:]
        _done("ip", "link", "add", "eth0", "netns", process, "type", "veth",
              "peer", "name", wire, "netns", self.switch)  # fmt: skip
        _done("ip", "-n", self.switch, "link", "set", wire, "master", "sw", "up")
        inside = ("nsenter", "-t", process, "-n", "ip")
        _done(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
        _done(*inside, "link", "set", "eth0", "up")

    def __exit__(self, *_):
        for computer in self._computers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                computer.close()
        _done("ip", "netns", "del", self.switch, check=False)
