"""What is in effect: peers of the interface while it is up, by wg(8)."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from pbal_hq.config import NetworkConfig
from pbal_hq.network.errors import TunnelError
from pbal_hq.network.peers import Peer

_PATIENCE_S = 20


@dataclass(frozen=True)
class Live:
    """A peer as the interface has it. `handshake_s`: unix time of the latest, 0 for none."""

    address: str
    handshake_s: int
    received_bytes: int
    sent_bytes: int


def is_up(config: NetworkConfig) -> bool:
    """Whether the interface is there."""
    return Path("/sys/class/net", config.interface).exists()


def _wg(config: NetworkConfig, *words: str) -> str:
    command = [*config.as_root, "wg", *words]
    remedy = "run this as root, or set network.as_root"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except FileNotFoundError:
        raise TunnelError(f"{command[0]} is not here (Debian: wireguard-tools)") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TunnelError(f"{' '.join(command)}: {error}") from None
    if done.returncode:
        raise TunnelError(f"{' '.join(command)}: {done.stderr.strip()}; {remedy}")
    return done.stdout


def set_peer(config: NetworkConfig, peer: Peer) -> None:
    """Let this site in now. Raises TunnelError."""
    bits = config.network.max_prefixlen
    _wg(config, "set", config.interface, "peer", peer.key, "allowed-ips", f"{peer.address}/{bits}")


def drop_peer(config: NetworkConfig, key: str) -> None:
    """Let who has this key in no more, from now on. Raises TunnelError."""
    _wg(config, "set", config.interface, "peer", key, "remove")
    if key in live(config):
        raise TunnelError(f"wg still has the peer {key} on {config.interface}")


def live(config: NetworkConfig) -> dict[str, Live]:
    """The interface's peers by public key. Raises TunnelError."""
    found = {}
    for line in _wg(config, "show", config.interface, "dump").splitlines()[1:]:
        key, _, _, addresses, handshake, received, sent, *_ = line.split("\t")
        address = addresses.partition("/")[0]
        found[key] = Live(address, int(handshake), int(received), int(sent))
    return found
