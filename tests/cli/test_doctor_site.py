"""`pbal doctor` on a site's own files: ports, key store, journal, unit, certificates, broker."""

from __future__ import annotations

import datetime
import http.server
import os
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace as N
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rigs import needs
from rigs.doctor import levels, machine, put
from typer.testing import CliRunner

from pbal_controller.config import Config, load
from pbal_controller.journal import Journal
from pbal_controller.keys import KeyStore
from pbal_controller.standing import Reason
from pbal_controller.standing import store as standing_store
from pbal_tools.doctor import site, uplink
from pbal_tools.doctor.command import app, examine
from pbal_tools.doctor.system import Machine, run_command


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A site with one bus, a key store, and a journal."""
    text = (
        "[site]\nid = 7\n[keys]\nfile = 'keys.json'\npassphrase_file = 'keys.pass'\n"
        "[journal]\npath = 'journal.db'\n[http]\nenabled = false\n"
        f"[bus.street]\nport = '{tmp_path}/dev/ttyUSB0'\n[[home]]\naddress = 257\nbus = 'street'\n"
    )
    put(tmp_path, "keys.pass", "secret\n").chmod(0o600)
    KeyStore.create(tmp_path / "keys.json", b"secret", 7, log2_n=10).add(257, "a4cf12fffe000011")
    Journal(tmp_path / "journal.db").close()
    return put(tmp_path, "pbal.toml", text)


def loaded(path: Path, **tables: Any) -> Config:
    made = load(path)
    return Config.model_validate(made.model_dump() | tables)


def test_serial_ports(tmp_path: Path, config: Path) -> None:
    made = load(config)
    m = Machine()
    assert levels(site.serial_ports(m, made)) == [("serial", "error")]
    put(tmp_path, "dev/ttyUSB0")
    assert levels(site.serial_ports(m, made)) == [("serial", "warning")]  # not by its id
    by_id = tmp_path / "dev/by-id"
    by_id.symlink_to(tmp_path / "dev/ttyUSB0")
    text = config.read_text().replace("/dev/ttyUSB0", "/dev/by-id")
    config.write_text(text)
    made = load(config)
    assert levels(site.serial_ports(m, made)) == [("serial", "ok")]
    # The same computer under another root, where the adapter holds bytes back.
    other = tmp_path / "root"
    (other / str(tmp_path)[1:] / "dev").mkdir(parents=True)
    (other / str(tmp_path)[1:] / "dev/by-id").symlink_to(tmp_path / "dev/ttyUSB0")
    put(other, "/sys/class/tty/ttyUSB0/device/latency_timer", "16\n")
    [found] = site.serial_ports(machine(other), made)
    assert (found.level, "16 ms" in found.words) == ("warning", True)
    if os.geteuid() != 0:
        (tmp_path / "dev/ttyUSB0").chmod(0)
        assert levels(site.serial_ports(m, made)) == [("serial", "error")]


def test_key_store(tmp_path: Path, config: Path) -> None:
    made = load(config)
    assert levels(site.key_store(made, None)) == [("keys", "ok")]
    (tmp_path / "keys.pass").write_text("wrong")
    assert levels(site.key_store(made, None)) == [("keys", "error")]
    (tmp_path / "keys.json").unlink()
    assert levels(site.key_store(made, None)) == [("keys", "error")]


def test_journal(tmp_path: Path, config: Path) -> None:
    made = load(config)
    assert levels(site.journal(made)) == [("journal", "ok")]
    journal = Journal(tmp_path / "journal.db")
    standing_store.stand_down(journal, Reason.RIVAL, "another one")
    journal.db.execute("INSERT INTO quarantine VALUES (257, 0, 'x')")
    journal.close()
    assert levels(site.journal(made)) == [
        ("journal", "error"), ("journal", "warning"), ("journal", "ok")
    ]  # fmt: skip
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("UPDATE audit_log SET why = 'x' WHERE seq = 1")
    db.close()
    [first, *_] = site.journal(made)
    assert (first.level, "audit log" in first.words) == ("error", True)
    data = bytearray((tmp_path / "journal.db").read_bytes())
    data[4096 * 2 :] = os.urandom(len(data) - 4096 * 2)
    (tmp_path / "journal.db").write_bytes(data)
    assert levels(site.journal(made))[0] == ("journal", "error")
    (tmp_path / "journal.db").write_bytes(b"no database" * 1000)
    assert levels(site.journal(made)) == [("journal", "error")]
    (tmp_path / "journal.db").unlink()
    assert levels(site.journal(made)) == [("journal", "note")]


def test_a_wal_that_grows(tmp_path: Path, config: Path) -> None:
    writer = sqlite3.connect(tmp_path / "journal.db")
    with open(tmp_path / "journal.db-wal", "ab") as file:
        file.truncate(300 << 20)  # sparse
    found = levels(site.journal(load(config)))
    writer.close()
    assert ("journal", "warning") in found


@pytest.mark.parametrize(
    ("told", "level", "words"),
    [
        (None, "note", "no systemd"),
        ("LoadState=not-found\nActiveState=inactive\n", "note", "not installed"),
        ("LoadState=loaded\nActiveState=failed\nExecMainStatus=4\n", "error", "exit code 4"),
        ("LoadState=loaded\nActiveState=inactive\n", "error", "is inactive"),
        ("LoadState=loaded\nActiveState=active\nNRestarts=3\n", "warning", "3 times"),
        ("LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=0\n", "ok", "running"),
    ],
)
def test_unit(tmp_path: Path, told: str | None, level: str, words: str) -> None:
    answers = {} if told is None else {"systemctl show": told}
    [found] = site.unit(machine(tmp_path, answers))
    assert (found.level, words in found.words) == (level, True), found


@pytest.fixture
def status() -> Iterator[Any]:
    """A status server whose health can be set."""
    state = N(code=200, body=b"{}")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(state.code if self.path == "/healthz" else 404)
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.port = server.server_address[1]
    yield state
    server.shutdown()
    server.server_close()
    thread.join(needs.PATIENCE_S)


def test_the_running_controller(config: Path, status: Any) -> None:
    made = loaded(config, http={"enabled": True, "port": status.port})
    assert levels(site.running(made)) == [("controller", "ok")]
    status.code, status.body = 503, b"late: dispatcher\n"
    [found] = site.running(made)
    assert (found.level, "late: dispatcher" in found.words) == ("error", True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = loaded(config, http={"enabled": True, "port": free.getsockname()[1]})
        assert levels(site.running(nobody)) == [("controller", "error")]
    assert levels(site.running(load(config))) == [("controller", "note")]


class Authority:
    """Signs certificates for the tests, valid around NOW."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        self._write(self.path, self._made(self.name, self.key.public_key(), -1, 4000, True))

    def issue(self, name: str, since_days: float = -1, days: float = 365) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        path = self.folder / f"{name}.pem"
        self._write(path, self._made(subject, key.public_key(), since_days, days, False))
        private = path.with_suffix(".key")
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        private.chmod(0o600)
        return path, private

    def _made(
        self, subject: x509.Name, key: Any, since: float, days: float, ca: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=since))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        if ca:
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            made = made.add_extension(usage, critical=True)
        return made.sign(self.key, hashes.SHA256())

    @staticmethod
    def _write(path: Path, made: x509.Certificate) -> None:
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def connected(config: Path, ca: Path, pair: tuple[Path, Path], port: int = 8883) -> Config:
    return loaded(
        config,
        uplink={"kind": "sparkplug", "host": "localhost", "port": port, "ca": ca,
                "certificate": pair[0], "key": pair[1]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("since", "days", "level", "words"),
    [
        (-1, 300, "ok", "valid until"),
        (-1, 12.5, "warning", "expires in 12 days"),
        (-9, -2, "error", "expired on"),
        (3, 300, "error", "valid from"),
    ],
)
def test_certificates(
    tmp_path: Path, config: Path, since: float, days: float, level: str, words: str
) -> None:
    authority = Authority(tmp_path)
    made = connected(config, authority.path, authority.issue("site", since, days))
    found = list(uplink.certificates(Machine(), made))
    assert [item.level for item in found] == ["ok", level]
    assert words in found[1].words


def test_certificates_that_do_not_fit(tmp_path: Path, config: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    found = levels(uplink.certificates(Machine(), connected(config, one[0], (one[0], other[1]))))
    assert found == [("certificate", "ok")] * 2 + [("certificate", "error")]
    one[1].chmod(0o644)
    found = levels(uplink.certificates(Machine(), connected(config, authority.path, one)))
    assert found[-1] == ("certificate", "warning")
    one[0].write_text("nothing")
    one[1].unlink()
    found = levels(uplink.certificates(Machine(), connected(config, authority.path, one)))
    assert found == [("certificate", "ok")] + [("certificate", "error")] * 2
    assert levels(uplink.certificates(Machine(), load(config))) == [("uplink", "note")]
    assert list(uplink.broker(load(config))) == []


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Any]:
    """A TLS server that wants certificates of its authority and then says nothing."""
    authority = Authority(tmp_path)
    pair = authority.issue("broker")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, pair))
    context.load_verify_locations(str(authority.path))
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()
    state = N(port=listener.getsockname()[1], authority=authority, context=context)

    def serve() -> None:
        listener.settimeout(0.2)
        while not stop.is_set():
            try:
                plain, _ = listener.accept()
            except TimeoutError:
                continue
            plain.settimeout(3)
            try:
                with context.wrap_socket(plain, server_side=True) as sealed:
                    sealed.recv(1)
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield state
    stop.set()
    thread.join(needs.PATIENCE_S)
    listener.close()


def test_broker(tmp_path: Path, config: Path, tls_server: Any) -> None:
    authority = tls_server.authority
    made = connected(config, authority.path, authority.issue("site"), tls_server.port)
    [found] = uplink.broker(made)
    assert (found.level, "TLSv1.3" in found.words) == ("ok", True), found
    # Of another authority: they do not know us.
    stranger = Authority(tmp_path, "stranger")
    unknown = connected(config, authority.path, stranger.issue("x"), tls_server.port)
    assert levels(uplink.broker(unknown)) == [("broker", "error")]
    # We do not know them.
    lost = connected(config, stranger.path, authority.issue("site"), tls_server.port)
    assert levels(uplink.broker(lost)) == [("broker", "error")]
    tls_server.context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert levels(uplink.broker(made)) == [("broker", "error")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = connected(config, authority.path, authority.issue("site"), free.getsockname()[1])
        assert levels(uplink.broker(nobody)) == [("broker", "error")]


def test_modem(tmp_path: Path) -> None:
    text = '{"modem": {"generic": {"state": "%s", "signal-quality": {"value": "%s"}}}}'
    for state, quality, level in (
        ("connected", "60", "ok"), ("connected", "9", "warning"), ("searching", "0", "error")
    ):  # fmt: skip
        m = machine(tmp_path, {"mmcli": text % (state, quality)})
        assert levels(uplink.modem(m)) == [("modem", level)]
    assert levels(uplink.modem(machine(tmp_path, {"mmcli": "no json"}))) == [("modem", "note")]
    assert list(uplink.modem(machine(tmp_path))) == []


def test_a_broken_configuration_does_not_stop_the_rest(tmp_path: Path) -> None:
    path = put(tmp_path, "pbal.toml", "[site\n")
    found = list(examine(machine(tmp_path), path, None))
    assert found[0].level == "error"
    assert {"disk", "clock", "memory", "unit"} <= {item.check for item in found}


def test_programs_that_fail_or_are_missing() -> None:
    assert run_command(("/no/such/program",)) is None
    assert run_command(("false",)) is None
    assert run_command(("echo", "x")) == "x\n"


def test_the_command(config: Path) -> None:
    from pbal_controller.documents import load_json

    done = CliRunner().invoke(app, ["--config", str(config), "--offline", "--json"])
    data = load_json(done.stdout)
    assert not data["ok"]  # the adapter is not there
    assert {"configuration", "disk", "memory", "serial", "keys", "journal"} <= {
        item["check"] for item in data["findings"]
    }
    assert done.exception is not None
    assert getattr(done.exception, "exit_code", None) == 7
    done = CliRunner().invoke(app, ["--config", str(config), "--offline"])
    assert "-> Plug the adapter in" in done.stdout
