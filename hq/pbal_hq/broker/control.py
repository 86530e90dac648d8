"""Acting on a running broker: have it read its lists anew, and end one client's session.

Mosquitto has no command to end a session. But a client id is a client's name here, and a second
client of the same id takes over the first one's session (MQTT 5.0, 3.1.4-3): HQ, which is the
authority, connects for a moment with a certificate of that name that is valid for some minutes and
is held in memory only.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import os
import signal
import ssl
import tempfile
from pathlib import Path

import aiomqtt

from pbal_hq.ca import Authority, Issued, Pki, client_context, write_private
from pbal_hq.config import BrokerConfig
from pbal_hq.errors import BrokerError

# The library's logger: failures are reported by this module.
_quiet = logging.getLogger("pbal_hq.broker.mqtt")
_quiet.setLevel(logging.CRITICAL)

_RELOAD_S = 30.0
_KICK_S = 20.0
# A broker that sends nothing for so long after the handshake has not refused.
_SILENCE_S = 1.0


async def reload(config: BrokerConfig, pid_file: Path) -> None:
    """Have the broker read access and revocation lists. Raises BrokerError."""
    if config.reload_command:
        await _run(config.reload_command)
        return
    _signal(pid_file)


def _signal(pid_file: Path) -> None:
    try:
        number = int(pid_file.read_text())
        name = Path("/proc", str(number), "comm").read_text().strip()
    except (OSError, ValueError):
        raise BrokerError(
            f"{pid_file} names no running broker; does it run on this computer? "
            "Elsewhere set broker.reload_command"
        ) from None
    if not name.startswith("mosquitto"):
        raise BrokerError(f"{pid_file} names process {number}, which is {name} and no broker")
    try:
        os.kill(number, signal.SIGHUP)
    except OSError as error:
        raise BrokerError(
            f"the broker (process {number}) cannot be told: {error.strerror}; run both as the same "
            "user, or set broker.reload_command"
        ) from None


async def _run(command: tuple[str, ...]) -> None:
    shown = " ".join(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise BrokerError(f"broker.reload_command: {shown}: {error.strerror}") from None
    try:
        async with asyncio.timeout(_RELOAD_S):
            said, _ = await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise BrokerError(f"broker.reload_command: {shown}: not done in {_RELOAD_S:g} s") from None
    if process.returncode:
        why = said.decode(errors="replace").strip()
        raise BrokerError(f"broker.reload_command: {shown}: exit code {process.returncode}: {why}")


def _context(pki: Pki, issued: Issued) -> ssl.SSLContext:
    # ssl takes certificates from files only.
    with tempfile.TemporaryDirectory(prefix="pbal-hq-") as folder:
        path = Path(folder, "both.pem")
        write_private(path, issued.key + issued.pem)
        return client_context(pki.ca, path)


async def lets_in(config: BrokerConfig, context: ssl.SSLContext) -> bool:
    """Whether the broker takes a client with this context, by the TLS handshake alone.

    In TLS 1.3 it judges a client's certificate after the client's side of the handshake is over, so
    its refusal comes with the first read. Raises BrokerError: nothing listens there.
    """
    writer = None
    try:
        async with asyncio.timeout(_KICK_S):
            reader, writer = await asyncio.open_connection(
                config.host, config.port, ssl=context, server_hostname=config.host
            )
            try:
                async with asyncio.timeout(_SILENCE_S):
                    return bool(await reader.read(1))
            except TimeoutError:
                return True  # it waits for a CONNECT
    except (ssl.SSLError, ConnectionResetError):
        return False
    except (OSError, TimeoutError) as error:
        raise BrokerError(f"{config.host}:{config.port}: {error or 'no answer'}") from None
    finally:
        if writer is not None:
            writer.transport.abort()


async def refuses(config: BrokerConfig, pki: Pki, revoked: Issued) -> None:
    """Wait until the broker refuses this certificate, i.e. has read the list that names it.

    Raises BrokerError: it still lets it in.
    """
    context = _context(pki, revoked)
    until = asyncio.get_running_loop().time() + _RELOAD_S
    while asyncio.get_running_loop().time() < until:
        if not await lets_in(config, context):
            return
        await asyncio.sleep(0.1)
    raise BrokerError(
        f"{config.host}:{config.port}: the broker was told to read its lists, and still lets in "
        "what is revoked; is it the broker that pbal-hq init configured?"
    )


async def kick(config: BrokerConfig, pki: Pki, authority: Authority, name: str) -> None:
    """End the session of the client of this name. Raises BrokerError."""
    now = datetime.datetime.now(datetime.UTC)
    issued = authority.client_with_key(name, 5 / 1440, now)
    try:
        async with (
            asyncio.timeout(_KICK_S),
            aiomqtt.Client(
                config.host, config.port, identifier=name, tls_context=_context(pki, issued),
                protocol=aiomqtt.ProtocolVersion.V5, clean_start=True, logger=_quiet,
            ),
        ):  # fmt: skip
            pass
    except (aiomqtt.MqttError, OSError, TimeoutError) as error:
        raise BrokerError(
            f"{config.host}:{config.port}: the session of {name} could not be ended: {error}"
        ) from None
