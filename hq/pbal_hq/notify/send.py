"""Sending one message by e-mail (SMTP), webhook or push gateway.

A webhook is a POST of JSON, signed with the route's secret: `X-Pbal-Signature: t=UNIX,v1=HEX`, HEX
the HMAC-SHA-256 of "UNIX.BODY". A push gateway (ntfy, or one that takes the same headers) gets the
text as body, and title, priority and link as headers. Both get the message's id as Idempotency-Key;
in an e-mail it is the Message-ID. What a receiver answers with 2xx is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path

import aiohttp

from pbal_hq.config import NotifyConfig, RouteConfig, SmtpConfig
from pbal_hq.notify.words import Message

TIMEOUT_S = 20.0
_MOST_PUSHED = 3900  # bytes: ntfy makes a file of what has more than 4096


class NotSent(Exception):
    """The message did not go; it is tried again. The text names no secret."""


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """The header of a webhook."""
    mac = hmac.new(secret, f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={mac}"


def _beginning(text: str, most: int) -> bytes:
    """As many whole characters as there is room for, in UTF-8."""
    return text.encode()[:most].decode(errors="ignore").encode()


def _secret(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise NotSent(f"{path}: {error.strerror}") from None


class Senders:
    """Sends messages. `ssl_context`: of receivers; None: the system's authorities."""

    def __init__(
        self, config: NotifyConfig, wall: Callable[[], float] = time.time,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._wall = wall
        self._ssl = ssl_context

    async def send(self, route: RouteConfig, message: Message) -> None:
        """Raises NotSent."""
        if route.kind == "email":
            await asyncio.to_thread(self._mail, self._config.smtp, route, message)
        elif route.kind == "webhook":
            body = json.dumps(message.as_dict()).encode()
            headers = {"Content-Type": "application/json"}
            if secret := _secret(route.secret_file):
                headers["X-Pbal-Signature"] = signature(secret, int(self._wall()), body)
            await self._post(route.url, body, headers, message)
        else:
            headers = {
                "Title": message.subject.encode("ascii", "replace").decode(),
                "Priority": {2: "5", 1: "4"}.get(message.severity, "3"), "Tags": "zap",
            }  # fmt: skip
            if message.base:
                headers["Click"] = f"{message.base}/alarms"
            if secret := _secret(route.secret_file):
                headers["Authorization"] = f"Bearer {secret.decode(errors='replace')}"
            await self._post(route.url, _beginning(message.text, _MOST_PUSHED), headers, message)

    async def _post(
        self, url: str, body: bytes, headers: Mapping[str, str], message: Message
    ) -> None:
        headers = {**headers, "Idempotency-Key": str(message.id)}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as client,
                client.post(
                    url, data=body, headers=headers, allow_redirects=False, ssl=self._ssl or True
                ) as answer,
            ):
                if not 200 <= answer.status < 300:
                    raise NotSent(f"the receiver answered {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise NotSent(f"{type(error).__name__}: {error}") from None

    def _mail(self, smtp: SmtpConfig, route: RouteConfig, message: Message) -> None:
        mail = EmailMessage()
        sender = Address(addr_spec=smtp.sender)
        mail["From"], mail["To"] = sender, [Address(addr_spec=to) for to in route.to]
        mail["Subject"], mail["Date"] = message.subject, formatdate(self._wall())
        mail["Message-ID"] = f"<{message.id}@{sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic answers
        mail.set_content(message.text)
        trusted = self._ssl or ssl.create_default_context()
        try:
            with self._server(smtp, trusted) as server:
                if smtp.user:
                    server.login(smtp.user, _secret(smtp.password_file).decode())
                refused = server.send_message(mail)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotSent(f"{type(error).__name__}: {error}") from None
        if refused:
            raise NotSent(f"the mail server refused {', '.join(refused)}")

    @staticmethod
    def _server(smtp: SmtpConfig, trusted: ssl.SSLContext) -> smtplib.SMTP:
        if smtp.security == "tls":
            return smtplib.SMTP_SSL(smtp.host, smtp.port, timeout=TIMEOUT_S, context=trusted)
        server = smtplib.SMTP(smtp.host, smtp.port, timeout=TIMEOUT_S)
        try:
            if smtp.security == "starttls":
                server.starttls(context=trusted)
        except BaseException:
            server.close()
            raise
        return server
