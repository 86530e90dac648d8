"""A real Mosquitto with real certificates, a small HQ, and a way to cut the line between."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import getpass
import os
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pbal_controller.config import UplinkConfig
from pbal_controller.journal import AsyncJournal
from pbal_controller.uplink import Uplink, outbox
from pbal_uplink import State, Summary, metrics, sparkplug
from rigs.needs import require_file

GROUP, NODE, SITE, HOST = "north", "7", 7, "hq"


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Pki:
    """One authority and what it signed, as PEM files in a folder."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            self._builder(self._name, self._key, now(), 30)
            .add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(
                x509.KeyUsage(False, False, False, False, False, True, True, False, False), True
            )
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        self._revoked: list[int] = []
        self._serials: dict[str, int] = {}

    def _builder(self, name, key, start, days) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - datetime.timedelta(minutes=5))
            .not_valid_after(start + datetime.timedelta(days=days))
        )

    def issue(
        self, name: str, *, start: datetime.datetime | None = None, days: int = 20,
        hosts: tuple[str, ...] = (),
    ) -> tuple[Path, Path]:  # fmt: skip
        """(certificate, key) of a client, or of a server where it has hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        use = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(subject, key, start or now(), days).add_extension(
            x509.ExtendedKeyUsage([use]), critical=False
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False
            )
        made = builder.sign(self._key, hashes.SHA256())
        self._serials[name] = made.serial_number
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )  # fmt: skip
        paths[1].chmod(0o600)
        return paths

    def crl(self, *revoked: str) -> Path:
        """The list of revoked certificates, with these in it from now on."""
        self._revoked += [self._serials[name] for name in revoked]
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now() - datetime.timedelta(minutes=5))
            .next_update(now() + datetime.timedelta(days=10))
        )
        for serial in self._revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(
                entry.revocation_date(now() - datetime.timedelta(minutes=5)).build()
            )
        path = self.folder / "revoked.crl"
        made = builder.sign(self._key, hashes.SHA256())
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Broker:
    """Mosquitto on loopback, TLS with client certificates; its user name is the certificate's."""

    def __init__(
        self, folder: Path, pki: Pki, *, tls: str = "tlsv1.3",
        server: tuple[Path, Path] | None = None, most: str = "", crl: Path | None = None,
        acl: str = "",
    ) -> None:  # fmt: skip
        self.port = free_port()
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
        if most:  # the highest version, which Mosquitto itself cannot be told
            openssl = folder / "openssl.cnf"
            openssl.write_text(
                "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n"
                f"[c]\nMaxProtocol = {most}\n"
            )
            self._env["OPENSSL_CONF"] = str(openssl)
        self.start()

    def start(self) -> None:
        # Not on every user's PATH.
        program = require_file("/usr/sbin/mosquitto", "mosquitto")
        log = (self.folder / "mosquitto.log").open("ab")
        self._process = subprocess.Popen(
            [str(program), "-c", str(self._conf)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._env,
        )
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            assert self._process.poll() is None, self.log()
            time.sleep(0.05)
        raise AssertionError("mosquitto did not start: " + self.log())

    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


class Line:
    """A TCP proxy that can be cut, or swallow what the site sends."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self.port = free_port()
        self.open = True
        self.up_bytes = self.down_bytes = 0
        self.up_packets = self.down_packets = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        """End every connection as if the cable were pulled: what is in the buffers is lost."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, to_writer}
        try:
            await asyncio.gather(
                self._pump(reader, to_writer, "up"), self._pump(to_reader, writer, "down")
            )
        finally:
            for each in (writer, to_writer):
                self._writers.discard(each)
                each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                setattr(self, f"{way}_bytes", getattr(self, f"{way}_bytes") + len(data))
                setattr(self, f"{way}_packets", getattr(self, f"{way}_packets") + 1)
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()


class Hq:
    """A host application as small as can be: decodes, stores each message once, acknowledges."""

    def __init__(self, pki: Pki, port: int, name: str = HOST) -> None:
        context = ssl.create_default_context(cafile=str(pki.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(*pki.issue(name))
        self._context, self._port, self._name = context, port, name
        self.raw: list[tuple[str, bytes]] = []
        self.got: list[tuple[object, bool]] = []  # (message, historical) as they came
        self.store: dict[int, object] = {}  # by token: what an idempotent insert holds
        self.births: list[sparkplug.Payload] = []
        self.deaths: list[sparkplug.Payload] = []
        self.seqs: list[int | None] = []
        self.acknowledge = True
        self._aliases: dict[int, tuple[str, int]] = {}
        self._client: aiomqtt.Client | None = None
        self._task: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()

    async def __aenter__(self) -> Hq:
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(ready))
        await asyncio.wait_for(ready.wait(), 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()):
            raise error

    async def _run(self, ready: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(
                    "localhost", self._port, tls_context=self._context, identifier=self._name
                ) as client:
                    self._client = client
                    await client.subscribe(f"{sparkplug.NAMESPACE}/#", qos=1)
                    if ready.is_set():  # it may have missed a birth, as any host that was away
                        await self._ask_rebirth()
                    ready.set()
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        await self._take(str(message.topic), message.payload)
            self._client = None
            await asyncio.sleep(0.2)

    async def _take(self, topic: str, payload: bytes) -> None:
        kind = topic.split("/")[2]
        if kind not in ("NBIRTH", "NDATA", "NDEATH"):
            return
        self.raw.append((topic, payload))
        if kind == "NBIRTH":
            birth = sparkplug.decode(payload)
            self._aliases = sparkplug.aliases(birth)
            self.births.append(birth)
            self.seqs.append(birth.seq)
        elif kind == "NDEATH":
            self.deaths.append(sparkplug.decode(payload))
        elif self._aliases:
            data = sparkplug.decode(payload, self._aliases)
            self.seqs.append(data.seq)
            tokens = []
            for message, historical in metrics.messages(data.metrics):
                self.got.append((message, historical))
                self.store[metrics.token(message)] = message
                tokens.append(metrics.token(message))
            if self.acknowledge and tokens:
                await self.stored(tokens)
        else:
            await self._ask_rebirth()
        self.changed.set()

    async def _ask_rebirth(self) -> None:
        await self.command(sparkplug.Metric(sparkplug.REBIRTH, True, sparkplug.BOOLEAN))

    async def stored(self, tokens: list[int]) -> None:
        await self.command(
            sparkplug.Metric(sparkplug.STORED, tuple(tokens), sparkplug.UINT64_ARRAY)
        )

    async def command(self, metric: sparkplug.Metric) -> None:
        data = sparkplug.encode(sparkplug.Payload((metric,), int(time.time() * 1000)))
        await self.publish(sparkplug.topic(GROUP, "NCMD", NODE), data)

    async def publish(self, topic: str, data: bytes, retain: bool = False) -> None:
        with contextlib.suppress(aiomqtt.MqttError):
            if self._client is not None:
                await self._client.publish(topic, data, qos=1, retain=retain)

    async def say(self, online: bool, at_ms: int | None = None) -> None:
        """The primary host's STATE."""
        at_ms = int(time.time() * 1000) if at_ms is None else at_ms
        await self.publish(sparkplug.state_topic(HOST), sparkplug.write_state(online, at_ms), True)

    async def until(self, condition, seconds: float = 40.0) -> None:
        """Wait for something about what came."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.1)


def config(pki: Pki, port: int, client: tuple[Path, Path], **more) -> UplinkConfig:
    """The [uplink] table of a site."""
    given = {
        "kind": "sparkplug", "host": "localhost", "port": port, "group": GROUP, "node": NODE,
        "ca": pki.ca, "certificate": client[0], "key": client[1], "spread_s": 0,
        "replay_per_s": 200, "retry_s": 1,
    }  # fmt: skip
    return UplinkConfig(**(given | more))


def a_state(backlog: int, thinned: int) -> State:
    return State(site=SITE, at_s=int(time.time()), words=1, config_hash=bytes(8), window_s=300,
                 homes=4, backlog=backlog, thinned=thinned, name="Mill")  # fmt: skip


class NoOrders:
    """Takes no commands."""

    async def take(self, sealed: bytes) -> object:
        raise AssertionError("a command")


async def no_reading() -> Summary | None:
    return None


@contextlib.asynccontextmanager
async def running(
    journal: AsyncJournal, settings: UplinkConfig, orders=None, reading=no_reading
) -> AsyncIterator[Uplink]:
    """An uplink over an open journal, stopped as a controller stops it."""
    uplink = Uplink(journal, settings, SITE, a_state, orders or NoOrders(), reading, time.time)
    task = asyncio.create_task(uplink.run(lambda: None))
    try:
        yield uplink
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            raise error


async def queue(journal: AsyncJournal, *numbers: int) -> list[Summary]:
    """Put summaries into the outbox."""
    made = [Summary(site=SITE, start_s=1_700_000_100 + 300 * n, length_s=300) for n in numbers]
    for each in made:
        await journal.call(outbox.put, each, 100_000)
    return made


async def opened(path: Path) -> AsyncJournal:
    journal = AsyncJournal(path)
    await journal.open()
    await journal.call(outbox.switch, True)
    return journal


def summaries(hq: Hq) -> list[Summary]:
    return [message for message in hq.store.values() if isinstance(message, Summary)]
