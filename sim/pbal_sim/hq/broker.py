"""Mosquitto (the Debian package) as a broker on loopback, TLS with client certificates."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from pbal_sim.childprocess import die_with_parent
from pbal_sim.errors import BrokerError
from pbal_sim.hq.pki import Pki
from pbal_sim.hq.ports import free_port

PROGRAM = "/usr/sbin/mosquitto"  # not on every user's PATH
_START_S = 20.0


def program() -> str | None:
    """Where Mosquitto is; None where it is not installed."""
    return PROGRAM if Path(PROGRAM).exists() else shutil.which("mosquitto")


class Broker:
    """One broker. A client's user name is the name in its certificate.

    `most` is the highest TLS version that it offers ("TLSv1.2"), for which Mosquitto itself has no
    option; `acl` the text of its access list. Raises BrokerError when it does not start.
    """

    def __init__(
        self,
        folder: Path,
        pki: Pki,
        *,
        tls: str = "tlsv1.3",
        server: tuple[Path, Path] | None = None,
        most: str = "",
        crl: Path | None = None,
        acl: str = "",
        port: int = 0,
    ) -> None:
        self.port = port or free_port()
        self.folder = folder
        certificate, key = server or pki.issue("broker", hosts=("localhost",))
        lines = [
            f"listener {self.port} 127.0.0.1", f"user {getpass.getuser()}",
            f"cafile {pki.ca}", f"certfile {certificate}", f"keyfile {key}",
            f"tls_version {tls}", "require_certificate true", "use_identity_as_username true",
            "allow_anonymous false", "persistence false", "max_queued_messages 100000",
        ]  # fmt: skip
        if crl is not None:
            lines.append(f"crlfile {crl}")
        if acl:
            (folder / "acl").write_text(acl)
            lines.append(f"acl_file {folder / 'acl'}")
        self._conf = folder / "mosquitto.conf"
        self._conf.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self._env = dict(os.environ)
        if most:
            openssl = folder / "openssl.cnf"
            openssl.write_text(
                "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n"
                f"[c]\nMaxProtocol = {most}\n"
            )
            self._env["OPENSSL_CONF"] = str(openssl)
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        found = program()
        if found is None:
            raise BrokerError("mosquitto is not installed (Debian package mosquitto)")
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [found, "-c", str(self._conf)], stdout=log, stderr=subprocess.STDOUT,
                env=self._env, preexec_fn=die_with_parent,
            )  # fmt: skip
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.05)
        self.kill()
        raise BrokerError(f"mosquitto did not start: {self.log()}")

    def log(self) -> str:
        """The end of what it logged."""
        return (self.folder / "mosquitto.log").read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
