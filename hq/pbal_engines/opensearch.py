"""OpenSearch: one node, behind an HAProxy that asks for TLS and a password.

The node has no users: its security plugin is no jar of the list here. So it listens on this
computer alone, where whoever is on it can reach it, and HAProxy stands before it:

    admin            everything
    pbal-hq-logs     reads and drops the indices of logs, keeps their template
    pbal-rsyslog     adds lines
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pbal_engines import java
from pbal_engines.artifacts import classpath, fetched
from pbal_engines.engine import Services, kept_ports
from pbal_engines.errors import Missing
from pbal_engines.kafka import ADMIN, Tls
from pbal_engines.service import Service, http_answers, port_open

READER, WRITER = "pbal-hq-logs", "pbal-rsyslog"
USERS = (ADMIN, READER, WRITER)
_HERE = "127.0.0.1"
_START_S = 240.0
_VERSION = "2.19.6"
_MODULE = "transport-netty4-client"
# What a distribution of OpenSearch has beside this module's jars, and Maven's have not.
_DESCRIPTOR = f"""\
name={_MODULE}
description=HTTP and transport by Netty
version={_VERSION}
opensearch.version={_VERSION}
java.version=11
classname=org.opensearch.transport.Netty4Plugin
extended.plugins=
has.native.controller=false
"""
_POLICY = """\
grant {
  permission java.io.FilePermission "/proc/sys/net/core/somaxconn", "read";
  permission java.net.SocketPermission "*", "accept,connect,listen";
  permission java.lang.RuntimePermission "setContextClassLoader";
  permission java.util.PropertyPermission "sun.nio.ch.bugLevel", "write";
};
"""
_LOGGING = """\
status = error
appender.c.type = Console
appender.c.name = c
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = %d %p %c{1.} %m%n
rootLogger.level = warn
rootLogger.appenderRef.c.ref = c
"""
_PROXY = """\
global
    ssl-default-bind-options ssl-min-ver TLSv1.3
    maxconn 200
defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
userlist people
USERS
frontend clients
    bind HERE:CLIENTS ssl crt PAIR
    http-request auth realm OpenSearch unless { http_auth(people) }
    acl admin http_auth_group(people) admins
    acl reader http_auth_group(people) readers
    acl writer http_auth_group(people) writers
    acl reads method GET HEAD
    acl looks path /_cluster/health /_cat/health
    acl bulk path /_bulk
    acl search path_reg ^/pbal-logs-[*]/_search$
    acl day path_reg ^/pbal-logs-[0-9.]+$
    acl drops method DELETE
    acl days path /_cat/indices/pbal-logs-*
    acl template path /_index_template/pbal-logs
    acl adds method POST
    http-request allow if admin
    http-request allow if writer bulk adds
    http-request allow if writer looks reads
    http-request allow if reader search
    http-request allow if reader day drops
    http-request allow if reader days reads
    http-request allow if reader looks reads
    http-request allow if reader template
    http-request deny
    default_backend node
backend node
    http-request del-header Authorization
    server node HERE:NODE
"""


class OpenSearch(Services):
    """A node on this computer.

    Parameters
    ----------
    folder : its own; data in it are kept over restarts.
    tls : of the proxy.
    passwords : of USERS.
    heap_mb : of the node.
    """

    def __init__(
        self,
        folder: Path,
        tls: Tls,
        passwords: Mapping[str, str],
        *,
        heap_mb: int = 384,
        lasting: bool = False,
    ) -> None:
        super().__init__(folder, lasting=lasting)
        self._tls = tls
        self._passwords = dict(passwords)
        self._heap_mb = heap_mb
        self._ports: list[int] = []

    @property
    def url(self) -> str:
        """Where clients come in."""
        return f"https://localhost:{self._ports[0]}"

    def told(self) -> dict[str, str]:
        """What a client needs, in words."""
        return {"url": self.url, "users": ", ".join(self._passwords), "ca": str(self._tls.ca)}

    def start(self) -> None:
        """Start both and wait until documents can be written. Raises EngineError."""
        self._ports = kept_ports(self.folder, 3)
        self.services = [self._node(), self._proxy()]
        self.start_all(self._wait)

    def start_node(self) -> None:
        """Start the node again that was killed, and wait for it. Raises EngineError."""
        self.services[0].start()
        self._wait()

    def _wait(self) -> None:
        health = "_cluster/health?wait_for_status=yellow&timeout=1s"
        self.services[0].wait(
            http_answers(f"http://{_HERE}:{self._ports[1]}/{health}"), "health", _START_S
        )
        self.services[1].wait(port_open(self._ports[0]), "open port", _START_S)

    def _node(self) -> Service:
        home = self._home()
        words = java.command(
            "org.opensearch.bootstrap.OpenSearch", classpath=classpath("opensearch"),
            heap_mb=self._heap_mb,
            properties={
                "opensearch.path.home": home, "opensearch.path.conf": home / "config",
                "opensearch.distribution.type": "tar", "java.io.tmpdir": home / "tmp",
                "java.security.manager": "allow", "log4j2.disable.jmx": "true",
                "opensearch.networkaddress.cache.ttl": "60",
                "opensearch.networkaddress.cache.negative.ttl": "10",
                # With native calls it refuses to run as root, as a container may.
                "jna.nounpack": "true", "jna.nosys": "true",
                "io.netty.noUnsafe": "true", "log4j.shutdownHookEnabled": "false",
            },
        )  # fmt: skip
        return Service("opensearch", words, self.folder / "node", lasting=self.lasting)

    def _home(self) -> Path:
        home = self.folder / "home"
        module = home / "modules" / _MODULE
        for each in (module, home / "config", home / "plugins", home / "lib", home / "tmp"):
            each.mkdir(parents=True, exist_ok=True)
        for old in module.glob("*.jar"):
            old.unlink()
        for jar in fetched("opensearch-transport").glob("*.jar"):
            shutil.copyfile(jar, module / jar.name)  # it may read its own folder alone
        (module / "plugin-descriptor.properties").write_text(_DESCRIPTOR)
        (module / "plugin-security.policy").write_text(_POLICY)
        (home / "config" / "log4j2.properties").write_text(_LOGGING)
        settings = {
            "cluster.name": "pbal", "node.name": "lab", "network.host": _HERE,
            "http.port": self._ports[1], "transport.port": self._ports[2],
            "discovery.type": "single-node", "path.data": self.folder / "data",
            "path.logs": self.folder / "logs",
            "bootstrap.system_call_filter": "false",
            # Only a whole name deletes an index.
            "action.destructive_requires_name": "true",
            "action.auto_create_index": "pbal-logs-*",
        }  # fmt: skip
        (home / "config" / "opensearch.yml").write_text(
            "".join(f"{name}: {value}\n" for name, value in settings.items())
        )
        return home

    def _proxy(self) -> Service:
        groups = {ADMIN: "admins", READER: "readers", WRITER: "writers"}
        people = [f"    group {group}" for group in groups.values()]
        people += [
            f"    user {user} insecure-password {password} groups {groups[user]}"
            for user, password in self._passwords.items()
        ]
        file = self.folder / "haproxy.cfg"
        text = _PROXY.replace("USERS", "\n".join(people)).replace("PAIR", str(self._tls.pair))
        for word, port in (("CLIENTS", self._ports[0]), ("NODE", self._ports[1])):
            text = text.replace(f"HERE:{word}", f"{_HERE}:{port}")
        file.touch(mode=0o600)
        file.write_text(text)
        found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if found is None:
            raise Missing("OpenSearch's TLS needs HAProxy: on Debian `apt install haproxy`")
        words: list[str | Path] = [found, "-db", "-f", file]
        return Service("haproxy", words, self.folder / "haproxy", lasting=self.lasting)
