"""The files of both ends: wg-quick's configuration and nftables' rules.

At HQ the rules let sites reach the broker and enrolment and nothing else, no site another one, and
nobody the broker and enrolment but through the tunnel. A table of our own, whose chains accept what
is not theirs: other rules of the machine stay in force. It stays when the tunnel goes down.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pbal_hq.config import Config
from pbal_hq.network.peers import Peer

_KEEPALIVE_S = 25  # a site is mostly behind NAT; wg(8) names this figure
KEY_ON_PI = "/etc/wireguard/pbal.key"


@dataclass(frozen=True)
class Files:
    """`conf`: for wg-quick; `rules`: for nft."""

    conf: str
    rules: str


def _ports(ports: Iterable[int]) -> str:
    return "{ " + ", ".join(str(port) for port in sorted(set(ports))) + " }"


def _opened(ports: Sequence[int], where: str = "") -> list[str]:
    return [f"        {where}tcp dport {_ports(ports)} accept"] if ports else []


def _table(name: str, chains: dict[str, list[str]]) -> str:
    """A table that takes the place of the one of this name, in one transaction of nft."""
    lines = [f"table inet {name}", f"delete table inet {name}", f"table inet {name} {{"]
    for chain, rules in chains.items():
        lines += [f"    chain {chain} {{", *rules, "    }"]
    return "\n".join([*lines, "}", ""])


def _hook(hook: str, *rules: str) -> list[str]:
    return [f"        type filter hook {hook} priority filter; policy accept;",
            *(f"        {rule}" for rule in rules)]  # fmt: skip


_BOTH_WAYS = [
    "        ct state established,related accept",
    "        icmp type echo-request accept",
    "        icmpv6 type echo-request accept",
]


def ports_of_hq(config: Config) -> list[int]:
    """What sites may reach."""
    return [config.broker.port, config.enrol.port or 8884, *config.network.more_ports]


def hub_rules(config: Config) -> str:
    """nft's file at HQ."""
    n = config.network
    name = f'"{n.interface}"'
    reached = ports_of_hq(config)
    inward = [f"iifname {name} jump from_sites"]
    if n.only_tunnel:
        inward += [
            f"{'ip6' if ':' in each else 'ip'} saddr {each} tcp dport {_ports(reached)} accept"
            for each in n.direct_from
        ]
        inward.append(f'iifname != "lo" tcp dport {_ports(reached)} drop')
    return _table(
        "pbal_hq",
        {
            "from_sites": [*_BOTH_WAYS, *_opened(reached), "        drop"],
            "to_sites": [*_BOTH_WAYS, *_opened(n.site_ports), "        drop"],
            "input": _hook("input", *inward),
            "output": _hook("output", f"oifname {name} jump to_sites"),
            # No site reaches another one, or what is behind HQ.
            "forward": _hook("forward", f"iifname {name} drop", f"oifname {name} drop"),
        },
    )


def hub_files(config: Config, folder: Path, peers: Sequence[Peer]) -> Files:
    """HQ's end; they are kept in `folder`, beside `private.key`."""
    n = config.network
    lines = [
        "# Made by pbal-hq network; what is written in here by hand is lost.",
        "[Interface]",
        f"Address = {n.hub}/{n.network.prefixlen}",
        f"ListenPort = {n.port}",
        # First the rules: there is no moment in which the tunnel stands open.
        f"PreUp = nft -f {shlex.quote(str(folder / 'hq.nft'))}",
        f"PostUp = wg set %i private-key {shlex.quote(str(folder / 'private.key'))}",
    ]
    for peer in peers:
        lines += ["", f"# site {peer.site}", "[Peer]", f"PublicKey = {peer.key}",
                  f"AllowedIPs = {peer.address}/{n.network.max_prefixlen}"]  # fmt: skip
    return Files("\n".join([*lines, ""]), hub_rules(config))


def site_files(config: Config, peer: Peer, hub_key: str, interface: str) -> Files:
    """A Pi's end: /etc/wireguard/INTERFACE.conf and INTERFACE.nft."""
    n = config.network
    family = "ip6" if n.network.version == 6 else "ip"
    most = n.network.max_prefixlen
    host = f"[{n.endpoint}]" if ":" in n.endpoint else n.endpoint
    conf = [
        f"# The tunnel of site {peer.site} to HQ, made by pbal-hq network. The key is made here:",
        f"#   (umask 077; wg genkey > {KEY_ON_PI}); wg pubkey < {KEY_ON_PI}",
        "[Interface]",
        f"Address = {peer.address}/{most}",
        f"PreUp = nft -f /etc/wireguard/{interface}.nft",
        f"PostUp = wg set %i private-key {KEY_ON_PI}",
        "",
        "[Peer]",
        f"PublicKey = {hub_key}",
        f"Endpoint = {host}:{n.port}",
        f"AllowedIPs = {n.hub}/{most}",
        f"PersistentKeepalive = {_KEEPALIVE_S}",
        "",
    ]
    name = f'"{interface}"'
    rules = _table(
        "pbal_site",
        {
            "from_hq": [*_BOTH_WAYS, *_opened(n.site_ports), "        drop"],
            "to_hq": [*_BOTH_WAYS, *_opened(ports_of_hq(config), f"{family} daddr {n.hub} "),
                      "        drop"],
            "input": _hook("input", f"iifname {name} jump from_hq"),
            "output": _hook("output", f"oifname {name} jump to_hq"),
            "forward": _hook("forward", f"iifname {name} drop", f"oifname {name} drop"),
        },
    )  # fmt: skip
    return Files("\n".join(conf), rules)
