"""Notices of alarms: who gets them, which, and by what way (docs/hq-portal.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pbal_hq.config.base import MailAddress, Port, PortalUrl, Table, is_private


class SmtpConfig(Table):
    """The mail server that takes notices."""

    host: str = "localhost"
    port: Port = 25
    # "starttls" and "tls" check the server's certificate.
    security: Literal["none", "starttls", "tls"] = "none"
    sender: MailAddress = "pbal-hq@localhost"
    user: str = ""
    password_file: Path | None = None


class RouteConfig(Table):
    """One receiver of notices, and which it gets."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    kind: Literal["email", "webhook", "push"]
    # Of e-mail: whom to. Of the others: where to; HTTPS but on this computer.
    to: tuple[MailAddress, ...] = ()
    url: str = ""
    # Of a webhook: the key of its signature. Of push: the gateway's access token.
    secret_file: Path | None = None
    least: Literal["warning", "alarm"] = "warning"
    # 1: only what nobody acknowledged in alarms.escalate_after_min[0]; 2: in [1], and so on.
    level: int = Field(default=0, ge=0, le=9)
    # A part of the tree as STATE/DISTRICT/DIVISION/FEEDER, some or all of it; "" is all.
    area: str = ""
    kinds: tuple[str, ...] = ()
    # Whether it hears of alarms that are over.
    closed: bool = True

    @model_validator(mode="after")
    def _whole(self) -> RouteConfig:
        if self.kind == "email":
            if not self.to:
                raise ValueError("a route of kind email needs `to`")
            return self
        if not is_private(self.url):
            raise ValueError(f"a route of kind {self.kind} needs `url`, which begins with https://")
        return self


class NotifyConfig(Table):
    """Notices of alarms outside the portal (docs/hq-portal.md)."""

    # Where people reach the portal, for links; "" for none.
    portal_url: PortalUrl = ""
    # The shortest time between two messages of a route: what comes meanwhile goes together.
    quiet_s: float = Field(default=60.0, ge=0, le=86_400)
    smtp: SmtpConfig = SmtpConfig()
    routes: tuple[RouteConfig, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> NotifyConfig:
        names = [route.name for route in self.routes]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two routes are named {min(twice)}")
        return self
