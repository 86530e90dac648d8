"""Ports of loopback for programs that are to listen on one, without a race for them.

A port that the system names itself, by binding 0, may be gone before the program listens on it, and
again while the program is down between two starts: the system gives the same ports to every
connection that goes out. So ports are taken from below those, and noted while this process lives,
where others on this computer that look for one see it.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _LEAST, _TRIES = 10_000, 2_000, 1_000
_KEPT = 64
#: What notes the ports of this process, the latest of them: sockets with a name and no file, which
#: the system forgets with the process and keeps apart for each network, as it does ports.
_noted: list[socket.socket] = []


def _outgoing_from() -> int:
    """The first port that outgoing connections get."""
    try:
        return int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def _note(port: int) -> bool:
    """False where another has it noted."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0pbal-port-{port}")
    except OSError:
        mark.close()
        return False
    _noted.append(mark)
    while len(_noted) > _KEPT:
        _noted.pop(0).close()
    return True


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of loopback that nobody has, and that nobody else gets who asks here, in whatever
    process, while this one lives and asks for no more than 64. Where the system leaves no room for
    such ports, one that was free just now.
    """
    end = _outgoing_from()
    if end - _LOWEST >= _LEAST:
        for _ in range(_TRIES):
            port = _LOWEST + secrets.randbelow(end - _LOWEST)
            if _note(port) and _free(port):
                return port
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
