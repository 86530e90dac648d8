"""The link to HQ, where one is configured: certificates, broker, modem."""

import datetime
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pbal_controller.bearers.lora import load_hat
from pbal_controller.config import Config
from pbal_controller.documents import load_json
from pbal_controller.errors import ConfigError
from pbal_host import Finding

from .system import Machine

_SOON_DAYS = 30
_WAIT_S = 8.0


def certificates(machine: Machine, config: Config, secret: bytes = b"") -> Iterator[Finding]:
    """Whether they can be read, are valid now, and fit together.

    `secret`: what the key is sealed with; empty where the key store is not opened here.
    """
    c = config.uplink
    if c.kind == "null":
        yield Finding("uplink", "note", "none is configured")
    if c.kind != "sparkplug":
        return
    from pbal_controller.uplink import KeyFile

    now = datetime.datetime.fromtimestamp(machine.wall(), datetime.UTC)
    found: dict[str, x509.Certificate] = {}
    for name, path in (("uplink.ca", c.ca), ("uplink.certificate", c.certificate)):
        assert path is not None  # the configuration was checked
        try:
            found[name] = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as exc:
            yield Finding(
                "certificate", "error", f"{name}: {path}: cannot be read ({exc})",
                "Put the PEM file of your authority there (docs/operations.md, Uplink).",
            )  # fmt: skip
            continue
        yield _dates(name, path, found[name], now)
    assert c.key is not None
    own = found.get("uplink.certificate")
    kept = KeyFile(c.key, secret)
    try:
        if kept.is_sealed and not secret:
            yield Finding("certificate", "note", f"{c.key}: sealed with the key store; not opened",
                          "Name --passphrase-file to have it looked into.")  # fmt: skip
            return
        key = kept.read()
    except (OSError, ConfigError) as exc:
        yield Finding("certificate", "error", f"uplink.key: {exc}",
                      "A PEM file, owner pbal: enrol anew, or bring the right one.")  # fmt: skip
        return
    if own is not None and _public(key.public_key()) != _public(own.public_key()):
        yield Finding(
            "certificate", "error", "uplink.key is not the key of uplink.certificate",
            "Bring both files of one request.",
        )  # fmt: skip
    if c.key.stat().st_mode & 0o077:
        yield Finding("certificate", "warning", f"{c.key}: others may read it",
                      f"sudo chmod 600 {c.key}")  # fmt: skip


def _public(key: object) -> bytes:
    data: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


def _dates(name: str, path: Path, found: x509.Certificate, now: datetime.datetime) -> Finding:
    until, since = found.not_valid_after_utc, found.not_valid_before_utc
    days = (until - now).total_seconds() / 86400
    renew = "Ask your authority for a new one and put it there; the controller reads it at a start."
    if now < since:
        return Finding("certificate", "error", f"{name}: valid from {since:%Y-%m-%d} only",
                       "Is the clock right? Else wait, or ask for another one.")  # fmt: skip
    if days < 0:
        return Finding("certificate", "error", f"{name}: expired on {until:%Y-%m-%d}", renew)
    if days < _SOON_DAYS:
        return Finding("certificate", "warning", f"{name}: expires in {days:.0f} days", renew)
    return Finding("certificate", "ok", f"{name}: valid until {until:%Y-%m-%d}")


def broker(config: Config, secret: bytes = b"") -> Iterator[Finding]:
    """Whether the broker answers, and whether both sides accept each other's certificate."""
    c = config.uplink
    if c.kind != "sparkplug":
        return
    from pbal_controller.uplink import KeyFile

    assert c.key is not None  # the configuration was checked
    where = f"{c.host}:{c.port}"
    kept = KeyFile(c.key, secret)
    try:
        if kept.is_sealed and not secret:
            yield Finding("broker", "note", f"{where}: not tried, the key is sealed",
                          "Name --passphrase-file to have it tried.")  # fmt: skip
            return
        context = ssl.create_default_context(cafile=str(c.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(str(c.certificate), str(c.key), password=kept.password)
    except (OSError, ssl.SSLError):
        yield Finding("broker", "error", f"{where}: not tried, the certificates cannot be used",
                      "See the findings on certificates.")  # fmt: skip
        return
    try:
        with (
            socket.create_connection((c.host, c.port), timeout=_WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=c.host) as sealed,
        ):
            # With TLS 1.3 the broker judges our certificate after the handshake: read once.
            sealed.settimeout(1.0)
            try:
                ended = sealed.recv(1) == b""
            except TimeoutError:
                ended = False
            words = f"{where}: {sealed.version()}"
        if ended:
            yield Finding("broker", "error", f"{where}: it closed the connection",
                          "Does it know this site's certificate? See its log.")  # fmt: skip
        else:
            yield Finding("broker", "ok", words)
    except ssl.SSLError as exc:
        yield Finding("broker", "error", f"{where}: {exc.reason or exc}".lower(),
                      "Is uplink.ca its authority, uplink.host the name in its certificate, and "
                      "this site's certificate known to it? It must speak TLS 1.3.")  # fmt: skip
    except OSError as exc:
        yield Finding("broker", "error", f"{where}: no connection ({exc})",
                      "Is the network up, the name right, the port open?")  # fmt: skip


def radios(machine: Machine, config: Config) -> Iterator[Finding]:
    """The radios of links between sites: their hat, and the bus that it is on."""
    for name in config.link_radios:
        radio = config.radio[name]
        hat = load_hat(radio.hat)  # the configuration was checked
        buses = sorted(machine.path("/dev").glob(f"spidev{hat.spi}.*"))
        what = f"{name}: {hat.title}, {radio.region} channel {radio.channel}, SF{radio.sf}"
        if not buses:
            yield Finding(
                "radio", "error", f"{what}: there is no /dev/spidev{hat.spi}.*",
                f"Add {hat.overlay} to /boot/firmware/config.txt and start again.",
            )  # fmt: skip
        elif not all(os.access(path, os.R_OK | os.W_OK) for path in buses):
            yield Finding(
                "radio", "error", f"{what}: {buses[0].name} cannot be opened by this user",
                "sudo adduser pbal spi (and run pbal doctor as that user, or as root).",
            )  # fmt: skip
        else:
            yield Finding("radio", "ok", what)


def lorawan(config: Config) -> Iterator[Finding]:
    """The LoRaWAN modem's file and its key's; its port is one of the serial ports."""
    c = config.uplink.lorawan
    if config.uplink.kind != "lorawan" or c is None:
        return
    from pbal_controller.uplink import load_modem, read_app_key

    try:
        modem = load_modem(c.modem, c.region)
        read_app_key(c.app_key_file)
    except ConfigError as exc:
        yield Finding("lorawan", "error", str(exc), "docs/gateway.md, LoRaWAN.")
        return
    yield Finding("lorawan", "ok", f"{modem.modem.title}, {c.region}, JoinEUI {c.join_eui}")


def modem(machine: Machine) -> Iterator[Finding]:
    """The modem's state by ModemManager, where it runs."""
    told = machine.run(("mmcli", "-m", "any", "-J"))
    if told is None:
        return
    try:
        generic = load_json(told)["modem"]["generic"]
        state = str(generic["state"])
        quality = str(generic["signal-quality"]["value"])
    except (ValueError, KeyError, TypeError):
        yield Finding("modem", "note", "ModemManager tells nothing that is known here")
        return
    words = f"{state}, signal {quality} %"
    if state == "connected":
        weak = quality.isdigit() and int(quality) < 20
        yield Finding("modem", "warning" if weak else "ok", words,
                      "Move the antenna." if weak else "")  # fmt: skip
    else:
        yield Finding("modem", "error", words,
                      "SIM, antenna and APN: mmcli -m any, nmcli connection.")  # fmt: skip
