"""The broker's configuration and access list, below `data/broker`.

A client's name is the name in its certificate (use_identity_as_username), and its client id is its
name, whatever it sends (use_username_as_clientid): no site can take over another's session. A
site's name is its Sparkplug edge node id; the patterns let it publish and subscribe under its own
name only.
"""

from __future__ import annotations

import getpass
from pathlib import Path

from pbal_hq.ca import BROKER, HQ, Pki, write_whole
from pbal_hq.config import Config
from pbal_uplink import sparkplug

_SAID = ("NBIRTH", "NDATA", "NDEATH")
# Of a gateway for the sites behind it. HQ takes of them only whom the registry puts there.
_SAID_OF_DEVICES = ("DBIRTH", "DDATA", "DDEATH")
# What the broker holds for HQ while HQ is away, messages of QoS 1.
_QUEUED = 1_000_000


def access_list(host_id: str) -> str:
    """The access list: HQ all of Sparkplug, a site its own topics. Everything else is forbidden."""
    space = sparkplug.NAMESPACE
    lines = [
        f"user {HQ}",
        f"topic readwrite {space}/#",
        "",
        "# Every other client, by the name in its certificate (%u).",
        *(f"pattern write {space}/+/{kind}/%u" for kind in _SAID),
        *(f"pattern write {space}/+/{kind}/%u/+" for kind in _SAID_OF_DEVICES),
        f"pattern read {space}/+/NCMD/%u",
        f"pattern read {space}/+/DCMD/%u/+",
        f"pattern read {sparkplug.state_topic(host_id)}",
    ]
    return "\n".join(lines) + "\n"


class BrokerFiles:
    """The folder of the broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "mosquitto.conf"
        self.acl = folder / "acl"
        self.pid = folder / "mosquitto.pid"

    def configuration(self, config: Config, pki: Pki, address: str = "") -> str:
        """mosquitto.conf."""
        listener = f"listener {config.broker.port} {address}".rstrip()
        return "\n".join(
            [
                "# Made by pbal-hq init; made again by it, so do not edit.",
                "per_listener_settings false",
                listener,
                # Started as root, it becomes this user, who may read the key.
                f"user {getpass.getuser()}",
                f"cafile {pki.ca}",
                f"crlfile {pki.crl}",
                f"certfile {pki.certificate(BROKER)}",
                f"keyfile {pki.key(BROKER)}",
                "tls_version tlsv1.3",
                "require_certificate true",
                "use_identity_as_username true",
                "use_username_as_clientid true",
                "allow_anonymous false",
                f"acl_file {self.acl}",
                f"pid_file {self.pid}",
                # What HQ has not taken is kept over a restart of the broker.
                "persistence true",
                f"persistence_location {self.folder}/",
                "autosave_interval 60",
                f"max_queued_messages {_QUEUED}",
                # Sparkplug's data is QoS 0; it waits for HQ all the same.
                "queue_qos0_messages true",
                "max_inflight_messages 500",
                "max_packet_size 262144",
                "sys_interval 0",
                "log_dest stderr",
                "log_type error",
                "log_type warning",
                "log_type notice",
                "connection_messages true",
                "",
            ]
        )

    def write(self, config: Config, pki: Pki, address: str = "") -> None:
        """Both files."""
        write_whole(self.acl, access_list(config.broker.host_id).encode(), 0o600)
        write_whole(self.conf, self.configuration(config, pki, address).encode())
